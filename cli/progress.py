"""Progress: a bar on a terminal, a plain line now and then in a log, nothing under --json."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from lpcam.records import Progress, silent

from .verbosity import is_quiet

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress]:
    """Yield the progress callback that suits where the output goes; it writes to stderr only."""
    if quiet or is_quiet():
        yield silent
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":  # which cannot redraw a bar
        yield from _bars()
    else:
        yield _Lines()


class _Lines:
    """A line at the start and the end of a stage, and one every ten seconds between."""

    def __init__(self) -> None:
        self._last = -SECONDS_BETWEEN_LINES
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._last >= SECONDS_BETWEEN_LINES:
            click.echo(f"{stage}: {done} of {total}", err=True)
            self._stage, self._last = stage, now


def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
