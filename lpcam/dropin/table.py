"""The drop-ins as tables for a person: what is replaced, what is read, what is written, what to set next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import import_module

from lpcam.dropin import REPOSITORIES
from lpcam.dropin.knobs import Knobs, variable
from lpcam.dropin.repository import Repository


def repositories() -> tuple[Repository, ...]:
    """Return every repository that has a drop-in."""
    return tuple(import_module(f"lpcam.dropin.{name}").REPOSITORY for name in REPOSITORIES)


def lines_table() -> str:
    """Return, as Markdown, the line that is replaced in each repository and where its seeds go."""
    header = ("repository", "in place of", "write", "seeds")
    rows = ((entry.title, f"`{entry.replaces}`", f"`{entry.by}`", f"`{entry.writes}`") for entry in repositories())
    return _markdown(header, rows)


def arguments_table() -> str:
    """Return, as Markdown, which arguments of each repository are read, and which are not needed."""
    header = ("repository", "reads", "not needed")
    rows = (
        (entry.title, _words(argument.name for argument in entry.arguments), _words(entry.unneeded))
        for entry in repositories()
    )
    return _markdown(header, rows)


def thresholds_table() -> str:
    """Return, as Markdown, what to set in each repository's next steps for LPCAM's maps."""
    return _markdown(("repository", "next"), ((entry.title, entry.next_step) for entry in repositories()))


def knobs_table() -> str:
    """Return, as Markdown, the options of lpcam as attributes and as variables."""
    meanings = re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w+: |\Z)", Knobs.__doc__ or "", re.MULTILINE | re.DOTALL)
    rows = ((f"`lpcam_{name}`", f"`{variable(name)}`", " ".join(meaning.split())) for name, meaning in meanings)
    return _markdown(("attribute", "variable", "meaning"), rows)


TABLES = {"lines": lines_table, "arguments": arguments_table, "thresholds": thresholds_table, "knobs": knobs_table}
"""The tables of docs/dropin.md by the name of their place there."""


def _words(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
