"""What was found of one thing, how it is, and what to do about it."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

OK, DOUBTFUL, BROKEN = "ok", "doubtful", "broken"
STATES = (OK, DOUBTFUL, BROKEN)
"""Better first."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found of one thing.

    Attributes:
        name: Of the thing, as a person calls it.
        state: One of `STATES`.
        found: What is there, in words.
        advice: What to do; empty where all is well.
        facts: The same for scripts, JSON values by name.
    """

    name: str
    state: str
    found: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "name": self.name,
            "state": self.state,
            "found": self.found,
            "advice": self.advice,
            "facts": self.facts,
        }


def imported(module: str) -> tuple[ModuleType | None, str]:
    """Import a module, quietly, and return it, or None and why it cannot be."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module(module), ""
    except Exception as error:  # extension modules fail in many ways
        return None, next(iter(str(error).splitlines()), "") or type(error).__name__


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def in_bytes(count: float) -> str:
    """Return a number of bytes in a unit that suits it.

    >>> in_bytes(999), in_bytes(2_500_000)
    ('999 bytes', '2.5 MB')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
