"""docs/: the site is built without a warning, shows what the pages say, and fetches nothing."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the docs extra")
pytest.importorskip("mkdocstrings", reason="needs the docs extra")

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_no_page_fetches_anything(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    tags = [tag for page in pages for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text())]
    sources = [source for tag in tags for source in re.findall(r'(?:src|href)="([^"]*)"', tag)]
    assert [source for source in sources if "//" in source] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_and_commands_look_like_tables_and_commands(page, site):
    text = page.read_text(encoding="utf-8")
    shown = (site / page.relative_to(ROOT / "docs").with_suffix(".html")).read_text(encoding="utf-8")
    assert shown.count("<table>") >= len(re.findall(r"^\|(?: ?-{3,} ?\|)+$", text, re.MULTILINE))
    code = html.unescape(re.sub(r"<[^>]+>", "", "".join(re.findall(r"<pre>.*?</pre>", shown, re.DOTALL))))
    commands = re.findall(r"^(?: {4})?((?:lpcam|make|pip|python|torchrun|sh|ray) .*?) *$", text, re.MULTILINE)
    assert [command for command in commands if command not in code] == []


def test_links_to_files_of_the_repository_become_links_of_the_site():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    cases = {
        ("[m](docs/methods.md#mioU)", "index.md"): "[m](methods.md#mioU)",
        ("[c](CHANGELOG.md)", "index.md"): "[c](changelog.md)",
        ("[r](../README.md)", "scale.md"): "[r](index.md)",
        ("[h](../../benchmarks/README.md)", "howto/x.md"): "[h](../benchmarks.md)",
        ("[f](../LICENSE)", "scale.md"): "f (`LICENSE`)",
        ("[gone](nowhere.md)", "scale.md"): "[gone](nowhere.md)",
        ("[web](https://arxiv.org/abs/2303.10334)", "index.md"): "[web](https://arxiv.org/abs/2303.10334)",
    }
    for (text, page), expected in cases.items():
        assert hooks.relinked(text, page) == expected
