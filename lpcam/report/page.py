"""One self-contained HTML page: a table and rows of pictures, all inlined, to be opened from disk."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lpcam.files import write_atomically

_QUALITY = 82


@dataclass(frozen=True)
class Panel:
    """One picture of a row.

    Attributes:
        title: What it shows.
        tile: uint8 [h, w, 3].
        caption: A few words or numbers under it; may be empty.
    """

    title: str
    tile: NDArray[np.uint8]
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        buffer = io.BytesIO()
        Image.fromarray(self.tile).save(buffer, format="WEBP", quality=_QUALITY, method=4)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(frozen=True)
class Exhibit:
    """One photo with its pictures, side by side.

    Attributes:
        heading: What to look at.
        panels: From left to right.
    """

    heading: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Section:
    """Exhibits that were chosen for one reason.

    Attributes:
        heading: The reason.
        text: A sentence on it.
        exhibits: Top to bottom.
    """

    heading: str
    text: str
    exhibits: tuple[Exhibit, ...]


@dataclass(frozen=True)
class Table:
    """Numbers, formatted.

    Attributes:
        caption: The convention of the numbers.
        columns: Headings, the first of the row names.
        rows: Cells, as many as columns.
        strong: Index of the row to stand out, if any.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: int | None = None


@dataclass(frozen=True)
class Page:
    """What the page says.

    Attributes:
        title: Of the page.
        lead: What one sees, a paragraph each.
        tables: Below the lead.
        sections: Below the tables.
        commands: How to make it again, a line each.
        colophon: Versions, seed, date-free facts; a line.
    """

    title: str
    lead: tuple[str, ...]
    tables: tuple[Table, ...]
    sections: tuple[Section, ...]
    commands: tuple[str, ...]
    colophon: str = ""


def render(page: Page) -> str:
    """Return the page as HTML that needs no other file and no network.

    >>> "<h1>A &amp; B</h1>" in render(Page("A & B", (), (), (), ()))
    True
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("lpcam.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(page=page)


def write_page(path: Path, page: Page) -> None:
    """Write the page.

    Raises:
        LpcamError: the file cannot be written.
    """
    html = render(page)
    write_atomically(path, lambda partial: _write(partial, html))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
