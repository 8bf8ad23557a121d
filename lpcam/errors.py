"""The one error a user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MANY = 20
_HEAD, _TAIL = 1400, 500  # letters of a message that is longer than both


class LpcamError(Exception):
    """Something the user can fix; the message is one line and ends with what to do next.

    The command line prints it without a traceback and exits with 1. Everything else is a bug of
    lpcam and keeps its traceback.

    A message may quote what a stranger wrote: line ends become spaces, what does not print is escaped, so that no
    file name moves the cursor of a terminal, and what is very long loses its middle.

    >>> str(LpcamError("no class 'a\\nb\\x1b[2J': correct it"))
    "no class 'a b\\\\x1b[2J': correct it"
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


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


def one_line(message: str) -> str:
    """Return a text that may hold anything as one line that prints; see `LpcamError`."""
    line = " ".join(message.splitlines())
    if len(line) > _HEAD + _TAIL:
        line = f"{line[:_HEAD]} … {line[-_TAIL:]}"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)
