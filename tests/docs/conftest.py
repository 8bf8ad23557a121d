"""What the tests of the documentation share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.following import ROOT

OUTSIDE = ("README.md", "CHANGELOG.md", "benchmarks/README.md", "mkdocs.yml")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; the one that `make check` left, where it is younger than all it is made of."""
    for package in ("mkdocs", "material", "mkdocstrings", "griffe"):
        pytest.importorskip(package, reason="needs the docs extra")
    last = ROOT / "site" / "sitemap.xml"
    sources = [*(ROOT / "docs").rglob("*.*"), *(ROOT / "lpcam").rglob("*.py"), *(ROOT / name for name in OUTSIDE)]
    if last.exists() and all(path.stat().st_mtime < last.stat().st_mtime for path in sources if path.suffix != ".pyc"):
        return last.parent
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
