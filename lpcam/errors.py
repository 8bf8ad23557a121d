"""The one error a user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MANY = 20


class LpcamError(Exception):
    """Something the user can fix; the message is one line and ends with what to do next.

    The command line prints it without a traceback and exits with 1. Everything else is a bug of
    lpcam and keeps its traceback.
    """


def unknown(kind: str, word: str, choices: Iterable[str]) -> LpcamError:
    """Return the error for a name that does not exist, with the nearest one that does.

    >>> str(unknown("refiner", "irm", ["irn", "psa"]))
    "unknown refiner 'irm': did you mean 'irn'? choose from irn, psa"
    """
    names = sorted(choices)
    near = difflib.get_close_matches(word, names, n=_MANY)
    hint = f"did you mean '{near[0]}'? " if near else ""
    if len(names) <= _MANY:
        return LpcamError(f"unknown {kind} '{word}': {hint}choose from {', '.join(names)}")
    shown = ", ".join(near if len(near) > 1 else names[:_MANY])
    return LpcamError(f"unknown {kind} '{word}': {hint}choose from {shown}, … ({len(names)} in all)")
