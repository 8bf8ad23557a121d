"""What was found in a file or a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
"""Values that JSON knows, by the name a person reads, words joined by underscores."""


@dataclass(frozen=True)
class Findings:
    """What a file or a folder holds.

    Attributes:
        kind: What it is, as a person calls it.
        path: Where it lies.
        facts: What it says of itself; a range is a list of two numbers.
        rows: A table, one row a class, stage, key or architecture; all rows have the same columns.
        doubts: What is doubtful, one line each.
        next_steps: How to go on, one line each.
    """

    kind: str
    path: Path
    facts: Facts = field(default_factory=dict)
    rows: tuple[Facts, ...] = ()
    doubts: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "kind": self.kind,
            "path": str(self.path),
            "facts": self.facts,
            "rows": list(self.rows),
            "doubts": list(self.doubts),
            "next_steps": list(self.next_steps),
        }


def spread(values: list[float]) -> list[float] | None:
    """Return the least and the largest value, to four digits after the point; None of nothing.

    >>> spread([0.5, 0.91239, 0.7])
    [0.5, 0.9124]
    """
    return [round(min(values), 4), round(max(values), 4)] if values else None
