"""Checksums of the files in a folder: ``SHA256SUMS``, which ``sha256sum --check`` reads, and journals while it grows.

A process that writes files appends a line to its own journal after each; in the end the journals go into
``SHA256SUMS``. A file without a line was written by a process that was killed before it could say so.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from lpcam.errors import LpcamError
from lpcam.files import cannot_write, is_over, write_atomically
from lpcam.locks import locked

SUMS = "SHA256SUMS"

_JOURNAL = f".{SUMS}-"
_LOCK = f".{SUMS}.lock"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_READERS = 4

Sums = dict[str, str]
"""SHA-256 by the file's path in the folder, with ``/`` between folders."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def journal(folder: Path, token: str) -> Callable[[Path], None]:
    """Return what notes the checksum of a file that was written; threads may share it.

    Args:
        folder: Of the files.
        token: Of the run; all its processes share it.
    """
    path = folder / f"{_JOURNAL}{token}-{os.getpid()}"

    def note(written: Path) -> None:
        line = f"{sha256_of(written)}  {written.relative_to(folder).as_posix()}\n"
        try:
            with path.open("ab") as file:
                file.write(line.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise cannot_write(path, error) from error

    return note


def read_sums(folder: Path) -> Sums:
    """Return the checksums that are known of a folder's files, those in journals too.

    Raises:
        LpcamError: they cannot be read.
    """
    sums: Sums = {}
    for path in (folder / SUMS, *sorted(folder.glob(f"{_JOURNAL}*"))):
        sums |= _lines(path)
    return sums


def settle(folder: Path, token: str | None) -> None:
    """Put journals into ``SHA256SUMS`` and remove them.

    Args:
        folder: Of the files.
        token: Of the run whose journals they are, beside those of processes that are over; None for all, where no
            other process writes.

    Raises:
        LpcamError: the folder cannot be read or written to.
    """
    with locked(folder / _LOCK):
        journals = [path for path in sorted(folder.glob(f"{_JOURNAL}*")) if _is_settled(path, token)]
        sums = _lines(folder / SUMS)
        for path in journals:
            sums |= _lines(path)
        text = "".join(f"{value}  {name}\n" for name, value in sorted(sums.items()))
        if journals:
            write_atomically(folder / SUMS, partial(_write, text=text))
        for path in journals:
            path.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Remove all that is known of a folder's files."""
    for path in (folder / SUMS, *folder.glob(f"{_JOURNAL}*")):
        path.unlink(missing_ok=True)


def keep_sound(folder: Path, files: Collection[Path], progress: Callable[[int, int], None]) -> tuple[str, ...]:
    """Remove those of some files whose checksum does not hold, or is not known.

    Args:
        folder: Of the checksums.
        files: In it, or in folders of it; those that are not there are passed over.
        progress: Told how many were looked at, and of how many.

    Returns:
        The names of those whose checksum did not hold.
    """
    sums = read_sums(folder)
    there = [path for path in files if path.is_file()]
    damaged = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="lpcam-check") as pool:
        for index, (path, found) in enumerate(zip(there, pool.map(sha256_of, there), strict=True)):
            name = path.relative_to(folder).as_posix()
            if sums.get(name) != found:
                path.unlink(missing_ok=True)
                damaged += [name] if name in sums else []
            progress(index + 1, len(there))
    return tuple(damaged)


def require_sound(path: Path, folder: Path, sums: Sums, repair: str) -> None:
    """Raise where a file is not what was written; one of which nothing is known is let pass.

    Args:
        path: The file.
        folder: Of the checksums.
        sums: As `read_sums` returns them.
        repair: What the user should do.

    Raises:
        LpcamError: its checksum does not hold.
    """
    known = sums.get(path.relative_to(folder).as_posix())
    if known is not None and known != sha256_of(path):
        raise LpcamError(f"{path} is damaged, its checksum does not hold: {repair}")


def _is_settled(path: Path, token: str | None) -> bool:
    """Return whether nothing is written to a journal any more."""
    of = path.name.removeprefix(_JOURNAL)
    return token is None or of.startswith(token) or is_over(of)


def _lines(path: Path) -> Sums:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LpcamError(f"cannot read {path} ({error.strerror}): check its permissions") from error
    found = map(_LINE.fullmatch, text.split("\n")[:-1])  # what has no end of line was cut off
    return {match[2]: match[1] for match in found if match}


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
