"""How every command ends: one JSON object, or what was done, what is doubtful, what failed and what comes next.

    done: seeds of 6 photos in 1.2 s (…): lpcam_work/seeds
    doubtful: 2 maps of lpcam are zero everywhere
    failed: 2007_000003: cannot read …
    next: lpcam evaluate -w lpcam_work

What was done and what comes next goes to stdout, the rest to stderr. Under --quiet only the first line and the failures
are printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lpcam.errors import one_line

from .exits import SOME_IMAGES_FAILED
from .tables import percent, print_table, shown, words
from .verbosity import is_quiet

if TYPE_CHECKING:
    from lpcam.corridor import ClusterReport, DiscriminantReport, EvaluationReport, ImportReport, SupportReport
    from lpcam.doctor import Diagnosis
    from lpcam.inspection import Findings
    from lpcam.records import Failure, StageReport
    from lpcam.report.whole import ReportResult
    from lpcam.verification import Verdict

_SHOWN_FAILURES = 5
_COLOURS = {"done": "green", "ok": "green", "doubtful": "yellow", "failed": "red", "broken": "red", "next": "cyan"}


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def conclude(
    done: str, *, doubts: Iterable[str] = (), failures: Sequence[Failure] = (), steps: Iterable[str] = ()
) -> None:
    """Print the end of a command.

    Args:
        done: What was done, and where it lies.
        doubts: What makes it doubtful.
        failures: Photos that could not be processed; the first few are named.
        steps: The next commands.
    """
    _say("done", done)
    _print_doubts(doubts)
    _print_failures(failures)
    _print_steps(steps)


def print_stage(report: StageReport, what: str, where: object, steps: Iterable[str] = ()) -> None:
    """Print the end of a stage over photos."""
    again = ["replace the photos that failed, or take them off the list, and run the same command again"]
    conclude(
        _stage_line(report, what, where),
        doubts=report.notices,
        failures=report.failures,
        steps=[*(again if report.failures else ()), *steps],
    )


def print_clusters(report: ClusterReport, where: object, steps: Iterable[str] = ()) -> None:
    """Print the prototypes of every class as a table."""
    columns = ("object_vectors", "rest_vectors", "class_prototypes", "context_prototypes")
    rows = [
        (name, *(f"{counts[column]:,}" + _mark(column, counts) for column in columns))
        for name, counts in report.classes.items()
    ]
    _print_classes(columns, rows)
    conclude(
        f"prototypes of {len(rows)} classes in {report.seconds:.1f} s: {where}", doubts=report.notices, steps=steps
    )


def print_support(report: SupportReport, where: object, steps: Iterable[str] = ()) -> None:
    """Print the context prototypes of every class as a table."""
    _print_counts(report.classes, ("instances", "context_prototypes"))
    done = f"context of {len(report.classes)} classes in {report.seconds:.1f} s: {where}"
    conclude(done, doubts=report.notices, steps=steps)


def print_discriminants(report: DiscriminantReport, where: object, steps: Iterable[str] = ()) -> None:
    """Print what the discriminant of every class was made of as a table."""
    _print_counts(report.classes, ("object_vectors", "rest_vectors"))
    done = f"discriminants of {len(report.classes)} classes in {report.seconds:.1f} s: {where}"
    conclude(done, doubts=report.notices, steps=steps)


def print_imported(report: ImportReport, where: object, steps: Iterable[str] = ()) -> None:
    """Print how many prototypes every class has as a table."""
    _print_counts(report.classes, ("class_prototypes", "context_prototypes"))
    conclude(f"imported prototypes of {len(report.classes)} classes: {where}", doubts=report.notices, steps=steps)


def print_scores(reports: Sequence[EvaluationReport], where: object, steps: Iterable[str] = ()) -> None:
    """Print one row a method: the means, then the IoU of every class that occurs; and what the seeds were made with."""
    scores = [report.as_json() for report in reports]
    seen = [name for name in reports[0].names if any(score["per_class"][name] is not None for score in scores)]
    header = ("method", "threshold", "mIoU %", "precision %", "recall %", *seen)
    rows = [
        (
            score["method"],
            f"{score['threshold']:.2f}",
            *(percent(score[name]) for name in ("miou", "precision", "recall")),
            *(percent(score["per_class"][name]) for name in seen),
        )
        for score in scores
    ]
    if not is_quiet():
        print_table(header, rows)
        for report in reports:
            click.echo(f"seeds of {report.method}: {_made_with(report.made_by)}")
    curve = reports[0].curve
    conclude(
        f"mIoU {', '.join(_best(report) for report in reports)} on {curve.images} photos, "
        f"best of {len(curve.scores)} thresholds: {where}",
        doubts=dict.fromkeys(notice for report in reports for notice in report.notices),
        steps=steps,
    )


def print_report(result: ReportResult) -> None:
    """Print where a report lies and what is on it."""
    shown = f"{result.shown} of {result.photos}" if result.shown < result.photos else str(result.photos)
    size = f"{result.size / 1e6:.1f} MB"
    conclude(
        f"page of {shown} photos and {len(result.methods)} methods, {size}, in {result.seconds:.1f} s: {result.page}",
        doubts=result.notices,
        steps=[f"open {result.page} in a browser"],
    )


def print_findings(findings: Findings) -> None:
    """Print what a file or a folder holds: what it says of itself, tables, doubts and next commands."""
    click.echo(f"{findings.kind}: {findings.path}")
    facts = {name: value for name, value in findings.facts.items() if value not in (None, {}, [])}
    tables = [value for value in facts.values() if _is_table(value)]
    plain = [(f"  {words(name)}", shown(name, value)) for name, value in facts.items() if not _is_table(value)]
    if not is_quiet():
        print_table(None, plain)
        for table in (*tables, findings.rows):
            _print_rows(table)
    _print_doubts(findings.doubts)
    _print_steps(findings.next_steps)


def print_verdict(verdict: Verdict) -> None:
    """Print whether a workspace is sound: how many files were checked, what is wrong, and what repairs it."""
    from lpcam.records import Failure

    checked = ", ".join(f"{count:,} of {stage}" for stage, count in verdict.checked.items()) or "nothing"
    sound = "all of them sound" if verdict.is_sound else f"{len(verdict.problems):,} wrong"
    conclude(
        f"{sum(verdict.checked.values()):,} files checked in {verdict.seconds:.1f} s ({checked}), {sound}: "
        f"{verdict.workspace}",
        doubts=verdict.doubts,
        failures=[Failure(problem.path, problem.what) for problem in verdict.problems],
        steps=dict.fromkeys(problem.repair for problem in verdict.problems),
    )


def print_diagnoses(found: Sequence[Diagnosis]) -> None:
    """Print one line for everything that was looked at; under --quiet what is not ok alone."""
    for one in found:
        if one.state != "ok" or not is_quiet():
            _say(one.state, f"{one.name}: {one.found}" + (f": {one.advice}" if one.advice else ""))
    counts = {state: sum(one.state == state for one in found) for state in ("doubtful", "broken")}
    conclude(f"{len(found)} things looked at, {counts['doubtful']} doubtful, {counts['broken']} broken")


def exit_for(reports: Iterable[StageReport]) -> None:
    """Exit with 3 where some images failed."""
    if any(report.failures for report in reports):
        raise click.exceptions.Exit(SOME_IMAGES_FAILED)


def _stage_line(report: StageReport, what: str, where: object) -> str:
    """Return what a stage over photos did."""
    speed = f"{report.images / report.seconds:.1f} a second" if report.images and report.seconds else ""
    backbone = f"{report.backbone_seconds:.1f} s of it the backbone" if report.backbone_seconds else ""
    details = f" ({', '.join(filter(None, (backbone, speed)))})" if backbone or speed else ""
    kept = f", {report.skipped} were there already" if report.skipped else ""
    return f"{what} of {report.images} photos in {report.seconds:.1f} s{details}{kept}: {where}"


def _say(kind: str, text: str, *, err: bool = False) -> None:
    """Print a line; what a stranger wrote in it stays one that prints."""
    click.echo(f"{click.style(f'{kind}:', fg=_COLOURS[kind], bold=True)} {one_line(text)}", err=err)


def _print_doubts(doubts: Iterable[str]) -> None:
    for doubt in doubts if not is_quiet() else ():
        _say("doubtful", doubt, err=True)


def _print_steps(steps: Iterable[str]) -> None:
    for step in steps if not is_quiet() else ():
        _say("next", step)


def _print_failures(failures: Sequence[Failure]) -> None:
    for failure in failures[:_SHOWN_FAILURES]:
        _say("failed", f"{failure.name}: {failure.reason}", err=True)
    if len(failures) > _SHOWN_FAILURES:
        _say("failed", f"… and {len(failures) - _SHOWN_FAILURES} more: --json names them all", err=True)


def _best(report: EvaluationReport) -> str:
    return f"{percent(report.curve.best.miou)} % ({report.method})"


def _made_with(made_by: Mapping[str, Any]) -> str:
    """Return in words what seeds were made with, or that nobody says it."""
    if not made_by:
        return "not said what made them"
    settings, propagation = made_by.get("settings", {}), made_by.get("propagation", {})
    walk = propagation.get("walk")
    parts = {
        "scales": ",".join(f"{scale:g}" for scale in made_by.get("scales", ())),
        "precision": made_by.get("precision"),
        **settings,
        "walk": "no" if walk is None else shown("walk", walk),
        "edges": propagation.get("edges") or "no",
        "attention": made_by.get("attention"),
    }
    return "; ".join(f"{words(name)} {shown(name, value)}" for name, value in parts.items() if value not in (None, ""))


def _print_counts(classes: dict[str, Any], columns: Sequence[str]) -> None:
    _print_classes(
        columns, [(name, *(f"{counts[column]:,}" for column in columns)) for name, counts in classes.items()]
    )


def _print_classes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not is_quiet():
        print_table(("class", *map(words, columns)), rows)


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        click.echo()
        print_table([words(name) for name in rows[0]], [[shown(*cell) for cell in row.items()] for row in rows])


def _mark(column: str, counts: dict[str, Any]) -> str:
    return " (fallback)" if column == "class_prototypes" and counts["fallback"] else ""


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
