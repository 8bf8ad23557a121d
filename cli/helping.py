"""How --help lists options: the few that matter first, the others under headings, so that a newcomer finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

FIRST, OWN, RUN = "Most used", "Of this command", "Run and output"
HEADINGS = (
    FIRST,
    "Photos and labels",
    "Classifier",
    "Methods",
    "Walk and edges",
    "Clustering",
    "Seeds",
    OWN,
    "Training",
    "Device, speed, machines",
    RUN,
)
"""In the order of --help."""
_EVERYWHERE = {"--verbose", "--quiet", "--help"}


class Command(click.Command):
    """A command that says which of its options matter most.

    Args:
        arguments: As `click.Command` takes them.
        first: Names of the options that --help lists first.
        attributes: As `click.Command` takes them.
    """

    def __init__(self, *arguments: Any, first: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.first = tuple(first)

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return the same names whoever asks: click remembers the first answer."""
        return ["-h", "--help"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        for heading, records in self.grouped(ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def grouped(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Return spelling and help of the options by heading; those of no heading are the command's own."""
        found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        params = self.get_params(ctx)
        for param in sorted(params, key=lambda param: self._place(param.name)):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                found[self._heading(param)].append(record)
        return {heading: records for heading, records in found.items() if records}

    def _place(self, name: str | None) -> int:
        return self.first.index(name) if name in self.first else len(self.first)

    def _heading(self, param: click.Option) -> str:
        if param.name in self.first:
            return FIRST
        return RUN if _EVERYWHERE & set(param.opts) else getattr(param, "heading", OWN)
