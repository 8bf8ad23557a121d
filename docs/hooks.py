"""What mkdocs does beyond mkdocs.yml: pages that live outside docs/, and links as the repository writes them.

The Markdown files are read on their own too (in an editor, in a repository's browser), so they link to each other as
files of the repository. On the site a link to a page goes to that page, and one to any other file shows where it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "benchmarks/README.md": "benchmarks.md"}
"""Files of the repository that are pages, and their names on the site."""

_LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_DOCS = "docs/"
_FETCHED, _OWN = "https://unpkg.com/iframe-worker/shim", "assets/worker.js"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live outside docs/."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point the links of a page at pages of the site."""
    return relinked(markdown, page.file.src_uri)


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Let the search of a page that is opened from disk run without fetching anything."""
    return output.replace(_FETCHED, posixpath.relpath(_OWN, posixpath.dirname(page.url) or "."))


def on_post_template(output_content: str, **_: object) -> str:
    """Do the same to the page that a server shows for a wrong address."""
    return output_content.replace(_FETCHED, f"/{_OWN}")


def relinked(markdown: str, page: str) -> str:
    """Return a page's text with its links to files of the repository made links of the site.

    Args:
        markdown: Of the page, as it stands in the repository.
        page: Its name on the site.
    """
    source = {name: path for path, name in OUTSIDE.items()}.get(page, _DOCS + page)
    return _LINK.sub(lambda link: _relinked(link, source, page), markdown)


def _relinked(link: re.Match[str], source: str, page: str) -> str:
    text, place, anchor = link[1], link[2], link[3] or ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), place))
    if "://" in place or not (ROOT / target).exists():
        return link[0]
    inside = OUTSIDE.get(target) or (target.removeprefix(_DOCS) if target.startswith(_DOCS) else None)
    if inside is None:  # a file of the repository that is no page
        return text if target in text else f"{text} (`{target}`)"
    return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"
