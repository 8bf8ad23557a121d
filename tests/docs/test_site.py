"""docs/: the site is built without a warning, shows what the pages say, and fetches nothing."""

from __future__ import annotations

import html
import importlib.util
import re
import shutil

import pytest

from tests.docs.following import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))


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
    pytest.importorskip("mkdocs", reason="needs the docs extra")
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


def test_the_site_is_searched_from_disk(site):
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright to open the site in a browser")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium to open the site")
    said: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.keyboard.press("s")
        page.keyboard.type("pixel-adaptive")
        found = page.wait_for_selector(".md-search-result__link[href*='propagation.html']")
        assert "Walk and edges" in found.inner_text()
        browser.close()
    assert said == []
