"""One self-contained HTML page, to be opened from disk: what stands on it, and how it becomes HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from lpcam.report.seeds import Scored

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 700.0, 16.0, 284.0


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        share: Length of its bar, 0..1; None for no bar.
        words: Whether it is a text, not a number.
    """

    text: str
    share: float | None = None
    words: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, and a cell for every column but the first."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Numbers, formatted.

    Attributes:
        heading: Over it.
        caption: The convention of the numbers.
        columns: Headings, the first of the row names.
        rows: Top to bottom.
        strong: Index of the row to stand out, if any.
    """

    heading: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    strong: int | None = None

    @property
    def texts(self) -> set[str]:
        """The columns that hold texts."""
        cells = [cell for row in self.rows for cell in zip(self.columns[1:], row.cells, strict=True)]
        return {column for column, cell in cells if cell.words}


@dataclass(frozen=True)
class Line:
    """A method's curve: its title, SVG points, and its best point."""

    title: str
    points: str
    best: tuple[float, float]


@dataclass(frozen=True)
class Curves:
    """mIoU against the threshold, in the coordinates of the chart.

    Attributes:
        top: The highest value of the vertical axis, %.
        lines: One a method.
    """

    top: int
    lines: tuple[Line, ...]

    def x(self, threshold: float) -> float:
        """Return where a threshold lies."""
        return round(_LEFT + (_RIGHT - _LEFT) * threshold, 1)

    def y(self, miou: float) -> float:
        """Return where an mIoU, %, lies."""
        return round(_BOTTOM - (_BOTTOM - _TOP) * miou / self.top, 1)


@dataclass(frozen=True)
class Page:
    """What the page says.

    Attributes:
        title: Of the page.
        lead: What one sees, a paragraph each.
        facts: Of data set, classifier and methods: names and values.
        doubts: What failed or is doubtful, a line each.
        tables: Of the summary.
        curves: None without masks.
        gallery_note: Which photos are shown.
        prototypes_note: What the prototypes' pictures mean.
        commands: How to make it again, a line each.
        colophon: Versions; a line.
        gallery: What the gallery knows, see `lpcam.report.gallery.draw`, and the methods: JSON values only.
        prototypes: What is known of the prototypes of every class; JSON values only.
    """

    title: str
    lead: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    doubts: tuple[str, ...]
    tables: tuple[Table, ...]
    curves: Curves | None
    gallery_note: str
    prototypes_note: str
    commands: tuple[str, ...]
    colophon: str
    gallery: dict[str, Any]
    prototypes: tuple[dict[str, Any], ...]

    @property
    def has_prototypes(self) -> bool:
        """Whether there is a section of them."""
        return bool(self.prototypes)


def render(page: Page) -> str:
    """Return the page as HTML that needs no other file and no network."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    data = {**page.gallery, "prototypes": page.prototypes}
    return environment.from_string(_part("page.html.j2")).render(
        page=page,
        style=_part("page.css"),
        script=_part("page.js"),
        data=_inert(data),
    )


def draw_curves(methods: Sequence[Scored]) -> Curves | None:
    """Return the threshold curves of the methods that have scores; None where none has."""
    scored = [(method, method.curve) for method in methods if method.curve]
    if not scored:
        return None
    highest = max(score.miou for _, curve in scored for score in curve.scores)
    axes = Curves(min(100, 10 * (int(10 * highest) + 1)), ())
    lines = []
    for method, curve in scored:
        points = " ".join(f"{axes.x(score.threshold)},{axes.y(100 * score.miou)}" for score in curve.scores)
        best = (axes.x(method.threshold), axes.y(100 * curve.best.miou))
        lines.append(Line(method.seeds.title, points, best))
    return Curves(axes.top, tuple(lines))


def _part(name: str) -> str:
    return files("lpcam.report").joinpath("template", name).read_text(encoding="utf-8")


def _inert(data: Any) -> str:
    """Return JSON that cannot end the element it stands in, whatever the names are."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
