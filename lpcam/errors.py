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


def of_system(error: OSError | MemoryError) -> LpcamError:
    """Return what is to be said where the machine fails in the middle of something: no disk, no permission, no memory.

    >>> str(of_system(FileNotFoundError(2, "No such file or directory", "a.jpg"))).partition(":")[0]
    'No such file or directory (a.jpg)'
    """
    if isinstance(error, MemoryError):
        return LpcamError(
            "out of memory: free some, or give a smaller --batch-size or fewer --processes, and run again"
        )
    where = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or str(error) or type(error).__name__
    return LpcamError(
        f"{reason}{where}: check the disk, its free space and permissions, then run the same command again"
    )


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
