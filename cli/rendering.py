"""What a command prints when it is done: one JSON object, or what was done, what is doubtful and what comes next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from .exits import SOME_IMAGES_FAILED

if TYPE_CHECKING:
    from lpcam.corridor import ClusterReport, DiscriminantReport, EvaluationReport, ImportReport, SupportReport
    from lpcam.records import StageReport
    from lpcam.report.whole import ReportResult

_SHOWN_FAILURES = 5


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_stage(report: StageReport, what: str, where: object) -> None:
    """Print what a stage over photos did."""
    speed = f", {report.images / report.seconds:.1f} a second" if report.images and report.seconds else ""
    kept = f", {report.skipped} were there already" if report.skipped else ""
    click.echo(
        f"{what} of {report.images} photos in {report.seconds:.1f} s "
        f"({report.backbone_seconds:.1f} s of it the backbone{speed}){kept}: {where}"
    )
    print_notices(report.notices)
    for failure in report.failures[:_SHOWN_FAILURES]:
        click.echo(f"failed: {failure.name}: {failure.reason}", err=True)
    if len(report.failures) > _SHOWN_FAILURES:
        click.echo(f"… and {len(report.failures) - _SHOWN_FAILURES} more", err=True)


def print_next_steps(report: StageReport) -> None:
    """Print how to go on with what was made."""
    for line in report.next_steps:
        click.echo(f"next: {line}")


def print_clusters(report: ClusterReport, where: object) -> None:
    """Print the prototypes of every class as a table."""
    rows = [
        (
            name,
            f"{counts['object_vectors']:,}",
            f"{counts['rest_vectors']:,}",
            f"{counts['class_prototypes']}{' (fallback)' if counts['fallback'] else ''}",
            str(counts["context_prototypes"]),
        )
        for name, counts in report.classes.items()
    ]
    print_table(("class", "object vectors", "rest vectors", "class prototypes", "context prototypes"), rows)
    click.echo(f"prototypes of {len(rows)} classes in {report.seconds:.1f} s: {where}")
    print_notices(report.notices)


def print_support(report: SupportReport, where: object) -> None:
    """Print the context prototypes of every class as a table."""
    rows = [
        (name, str(counts["instances"]), str(counts["context_prototypes"])) for name, counts in report.classes.items()
    ]
    print_table(("class", "instance prototypes", "context prototypes"), rows)
    click.echo(f"context of {len(rows)} classes in {report.seconds:.1f} s: {where}")
    print_notices(report.notices)


def print_discriminants(report: DiscriminantReport, where: object) -> None:
    """Print what the discriminant of every class was made of as a table."""
    rows = [
        (name, f"{counts['object_vectors']:,}", f"{counts['rest_vectors']:,}")
        for name, counts in report.classes.items()
    ]
    print_table(("class", "object vectors", "rest vectors"), rows)
    click.echo(f"discriminants of {len(rows)} classes in {report.seconds:.1f} s: {where}")
    print_notices(report.notices)


def print_imported(report: ImportReport, where: object) -> None:
    """Print how many prototypes every class has as a table."""
    rows = [
        (name, str(counts["class_prototypes"]), str(counts["context_prototypes"]))
        for name, counts in report.classes.items()
    ]
    print_table(("class", "class prototypes", "context prototypes"), rows)
    click.echo(f"imported prototypes of {len(rows)} classes: {where}")
    print_notices(report.notices)


def print_scores(reports: Sequence[EvaluationReport]) -> None:
    """Print one row a method: the means, then the IoU of every class that occurs."""
    scores = [report.as_json() for report in reports]
    seen = [name for name in reports[0].names if any(score["per_class"][name] is not None for score in scores)]
    header = ("method", "threshold", "mIoU %", "precision %", "recall %", *seen)
    rows = [
        (
            score["method"],
            f"{score['threshold']:.2f}",
            *(_percent(score[name]) for name in ("miou", "precision", "recall")),
            *(_percent(score["per_class"][name]) for name in seen),
        )
        for score in scores
    ]
    print_table(header, rows)
    for report in reports:
        print_notices(report.notices)


def print_report(result: ReportResult) -> None:
    """Print where a report lies and what is on it."""
    shown = f"{result.shown} of {result.photos}" if result.shown < result.photos else str(result.photos)
    size = f"{result.size / 1e6:.1f} MB"
    click.echo(f"{shown} photos, {len(result.methods)} methods, {size} in {result.seconds:.1f} s: {result.page}")
    print_notices(result.notices)
    click.echo(f"next: open {result.page} in a browser")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; wide ones (many classes) are turned so that they fit a terminal."""
    from rich.console import Console
    from rich.table import Table

    rows = list(rows)
    if len(header) > 12:
        header, *rows = [list(column) for column in zip(header, *rows, strict=True)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def print_notices(notices: Iterable[str]) -> None:
    """Print what makes a result doubtful, on stderr."""
    for notice in notices:
        click.echo(f"note: {notice}", err=True)


def exit_for(reports: Iterable[StageReport]) -> None:
    """Exit with 3 where some images failed."""
    if any(report.failures for report in reports):
        raise click.exceptions.Exit(SOME_IMAGES_FAILED)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
