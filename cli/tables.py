"""Tables, and values as a person reads them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .colours import wants_colour

_NO_EDGE = 10_000
_LONG = ("sha256", "fingerprint", "features", "prototypes", "support", "discriminants")
"""Names whose values are identities, of which the beginning tells enough."""
_SHOWN = 12
_RANGES = ("range", "of_class_prototypes", "of_context", "cluster_sizes")
_SIZES = ("size", "grid", "shape")
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def print_table(header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Print a table; wide ones (many classes) are turned so that they fit a terminal.

    Args:
        header: Names of the columns; None prints rows alone, name and value.
        rows: As many cells each as there are columns.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if header is not None and len(header) > 12:
        header, *rows = [list(column) for column in zip(header, *rows, strict=True)]
    bold = "" if wants_colour(os.environ) is False else "bold"
    table = Table(box=None, pad_edge=False, header_style=bold, show_header=header is not None)
    for index, name in enumerate(header or ("", "")):
        are_numbers = header is not None and all(_is_number(row[index]) for row in rows)
        table.add_column(Text(name), justify="right" if index and are_numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: [a, b] is no markup
    Console(highlight=False, width=_width()).print(table)


def words(name: str) -> str:
    """Return a name with its words apart.

    >>> words("class_prototypes")
    'class prototypes'
    """
    return "on disk" if name == "bytes" else name.replace("_", " ")


def shown(name: str, value: Any) -> str:
    """Return a value as a person reads it.

    >>> shown("bytes", 1_054_968), shown("range", [0.5, 0.9]), shown("fallback", False), shown("photos", 1464)
    ('1.1 MB', '0.5 to 0.9', 'no', '1,464')
    """
    for kind, text in _TEXTS:
        if isinstance(value, kind):
            return text(name, value)
    return "–"


def size(count: float) -> str:
    """Return a number of bytes in a unit that suits it.

    >>> size(999), size(2_500_000)
    ('999 bytes', '2.5 MB')
    """
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def percent(share: float | None) -> str:
    """Return a share as a percentage without its sign."""
    return "–" if share is None else f"{100 * share:.1f}"


def _is_number(cell: str) -> bool:
    """Return whether a cell is a number, a range, a size, or none of these.

    >>> _is_number("1,464"), _is_number("0.5 to 0.9"), _is_number("3 (fallback)"), _is_number("3 keys missing")
    (True, True, True, False)
    """
    return (
        re.fullmatch(r"–|-?\d[\d.,e+-]*( to -?[\d.,e+-]+|( × \d+)+| \(fallback\)| [kMGT]?B| bytes)?", cell) is not None
    )


def _flag(name: str, value: bool) -> str:
    return "yes" if value else "no"


def _whole(name: str, value: int) -> str:
    return size(value) if name == "bytes" else str(value) if name in ("seed", "label") else f"{value:,}"


def _real(name: str, value: float) -> str:
    return f"{value:.4g}"


def _word(name: str, value: str) -> str:
    return value[:_SHOWN] if name.endswith(_LONG) and len(value) > 2 * _SHOWN else value


def _listed(name: str, values: list[Any]) -> str:
    between = " to " if name.endswith(_RANGES) else " × " if name in _SIZES else ", "
    return between.join(shown("", value) for value in values) or "none"


def _named(name: str, values: dict[str, Any]) -> str:
    return ", ".join(f"{words(key)} {shown(key, value)}" for key, value in values.items())


_TEXTS: tuple[tuple[type, Callable[[str, Any], str]], ...] = (
    (bool, _flag),  # before int, which it is too
    (int, _whole),
    (float, _real),
    (str, _word),
    (list, _listed),
    (dict, _named),
)


def _width() -> int | None:
    """Return None where rich finds the width itself, else a line that never ends: a pipe has no edge to fold at."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _NO_EDGE
