"""Files that are either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from lpcam.errors import LpcamError

_PARTIAL = ".partial-"  # nothing with a dot after it: torch.save writes what is before the last dot into the file
_HOUR = 3600.0
_SEAL = "sha256"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a neighbour of ``path``, then rename it into place.

    A reader sees the old file or the new one, never a half; on an error the partial file is removed
    and the old one stays. Processes that write the same file at once do not disturb each other: the
    partial file has a name of its own, and the last rename stays.

    Args:
        path: The file to be made; its folder is created.
        write: Called with the path of the partial file.

    Raises:
        LpcamError: the folder cannot be written to, or the disk is full.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a" / "b.txt"
    >>> write_atomically(target, lambda partial: None if partial.write_text("whole") else None)
    >>> target.read_text()
    'whole'
    """
    partial = path.with_name(f"{path.name}{_PARTIAL}{process_token()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        _flush_to_disk(partial)
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove_quietly(partial)


def process_token() -> str:
    """Return a name that no other process has, now or later."""
    return f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def is_over(token: str) -> bool:
    """Return whether the process of this machine that had a token is gone."""
    machine, _, rest = token.partition("-")
    process = rest.partition("-")[0]
    return bool(machine) and machine == _machine() and process.isdecimal() and not Path("/proc", process).exists()


def await_file(path: Path, seconds: float = 15.0) -> None:
    """Wait a while for a file that another machine wrote: network file systems show it late.

    Raises:
        LpcamError: it does not come.
    """
    end = time.monotonic() + seconds
    while not path.is_file():
        if time.monotonic() > end:
            raise LpcamError(f"{path} was written and is not there: check the file system, then run the command again")
        time.sleep(0.05)


def is_partial(path: Path) -> bool:
    """Return whether a file is one that `write_atomically` has not renamed yet."""
    return _PARTIAL in path.name


def sweep(folder: Path) -> None:
    """Remove partial files of processes that were killed: of this machine at once, of others after an hour."""
    for path in folder.glob(f"*{_PARTIAL}*") if folder.is_dir() else ():
        try:
            is_old = time.time() - path.stat().st_mtime > _HOUR  # a write takes seconds
            if is_old or is_over(path.name.rpartition(_PARTIAL)[2]):
                path.unlink()
        except OSError:  # another process was first
            continue


def cannot_write(path: Path, error: OSError) -> LpcamError:
    """Return what is to be said of a file that cannot be written."""
    return LpcamError(
        f"cannot write {path} ({error.strerror or error}): check permissions and free space, then run again"
    )


def write_json(path: Path, value: dict[str, Any], *, sealed: bool = False) -> None:
    """Write an object as indented JSON, atomically, and sweep its folder.

    Args:
        path: The file.
        value: JSON values only.
        sealed: Add the object's checksum under ``sha256``; `read_json` refuses the file once anything in it changed.
    """
    sweep(path.parent)
    value = {**value, _SEAL: _seal(value)} if sealed else value
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda partial: _write_text(partial, text))


def read_json(path: Path, *, repair: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        repair: What the user should do when the file is missing or damaged.

    Raises:
        LpcamError: the file is missing, unreadable, not a JSON object, or not what was sealed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LpcamError(f"{path} does not exist: {repair}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LpcamError(f"cannot read {path} ({error}): {repair}") from error
    if not isinstance(value, dict):
        raise LpcamError(f"{path} is not a JSON object: {repair}")
    if _SEAL in value and value.pop(_SEAL) != _seal(value):
        raise LpcamError(f"{path} is damaged or was changed by hand, its checksum does not hold: {repair}")
    return value


def _seal(value: dict[str, Any]) -> str:
    """Return the SHA-256 over an object as it comes back from JSON, whatever the order of its keys."""
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _machine() -> str:
    """Return a name of this system and its process numbers; empty where they cannot be told from another's."""
    try:
        boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
        text = f"{boot.read_text(encoding='ascii')}{space.readlink()}"
    except OSError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
