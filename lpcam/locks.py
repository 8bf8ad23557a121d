"""Who works on a file or a folder: a second process waits, and says for whom.

Locks are those of the system (``flock``): they end with the process that holds them, however it ends, so there are no
stale ones. Where a file system has none, nothing is locked; results are right even so, only work is done twice.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from lpcam.files import cannot_write

_LOG = logging.getLogger(__name__)


def folder_lock(folder: Path) -> Path:
    """Return the lock file of a folder."""
    return folder / ".lpcam.lock"


def file_lock(path: Path) -> Path:
    """Return the lock file of a file."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def working_on(*locks: Path, stage: str, share: str = "") -> Iterator[None]:
    """Hold what a stage writes to; wait while another process holds it.

    Processes of different shares work side by side; two of one share, or one of all of it and any other, do not.
    Whoever has to wait logs a warning that names the holder.

    Args:
        locks: Lock files, see `folder_lock` and `file_lock`; their folders are created.
        stage: What others are told is going on.
        share: Of several processes, such as ``0-of-4``; empty for all of the work.

    Raises:
        LpcamError: a lock file cannot be made.
    """
    with ExitStack() as stack:
        for path in sorted(set(locks)):  # in one order, so that two processes never wait for one another
            if share:
                stack.enter_context(_held(path, stage, shared=True))
                stack.enter_context(_held(path.with_name(f"{path.name}-{share}"), stage))
            else:
                stack.enter_context(_held(path, stage))
        yield


@contextmanager
def reading(lock: Path, *, stage: str) -> Iterator[None]:
    """Wait until nobody writes, and let nobody write for a while; nothing happens where the lock cannot be made."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.open("a").close()
    except OSError:  # who cannot write here is disturbed by nobody who can
        yield
        return
    with _held(lock, stage, shared=True):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for a moment, while several processes read, change and write the same file.

    Raises:
        LpcamError: it cannot be made.
    """
    with _opened(path) as file:
        _lock(file, shared=False, wait=True)
        yield


@contextmanager
def _held(path: Path, stage: str, *, shared: bool = False) -> Iterator[None]:
    with _opened(path) as file:
        if not _lock(file, shared=shared, wait=False):
            _LOG.warning("waiting for %s in %s: Ctrl-C to leave", _holders(path), path.parent)
            _lock(file, shared=shared, wait=True)
        if not shared:
            _write(file, f"{stage}, process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}")
        try:
            yield
        finally:
            if not shared:
                _write(file, "")


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        yield file


def _lock(file: IO[str], *, shared: bool, wait: bool) -> bool:
    """Return whether the lock is ours; also where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return True
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file.fileno(), kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _holders(path: Path) -> str:
    """Return in words who holds a lock, or a share of it."""
    said = [_read(entry) for entry in sorted({path, *path.parent.glob(f"{path.name}-*")})]
    return "; ".join(filter(None, said)) or "another process"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _write(file: IO[str], text: str) -> None:
    """Say who holds a lock; a disk that is full does not keep anybody from working."""
    try:
        file.truncate(0)
        file.write(text)
        file.flush()
    except OSError:
        return
