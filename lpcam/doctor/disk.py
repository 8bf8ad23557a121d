"""The file system of the workspace: what is free, and whether locks and renames keep their word there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lpcam.doctor.diagnosis import BROKEN, DOUBTFUL, OK, Diagnosis, in_bytes

_LITTLE = 1e9  # bytes


def of_disk(folder: Path) -> Iterator[Diagnosis]:
    """Look at the file system that a folder lies in, or would; what is written there for it is removed at once."""
    place = existing(folder)
    yield _space(folder, place)
    if not os.access(place, os.W_OK | os.X_OK):
        yield Diagnosis("writing", BROKEN, f"{place} cannot be written to", "choose another --workspace")
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".lpcam-doctor-", dir=place) as tried:
            yield _writing(Path(tried), place)
    except OSError as error:
        advice = "free space there, or choose another --workspace"
        yield Diagnosis("writing", BROKEN, f"{place} cannot be written to ({error.strerror})", advice)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest around it that is there."""
    place = folder.resolve()
    return next(path for path in (place, *place.parents) if path.is_dir())


def free_bytes(folder: Path) -> tuple[int, int | None]:
    """Return the bytes that may be written, and the files that may be made; None where that is not limited."""
    found = os.statvfs(existing(folder))
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None


def _space(folder: Path, place: Path) -> Diagnosis:
    free, files = free_bytes(folder)
    kind = _kind(place)
    facts = {"free_bytes": free, "free_files": files, "file_system": kind, "folder": str(place)}
    found = f"{in_bytes(free)} free in {place}" + (f" ({kind})" if kind else "")
    if free >= _LITTLE:
        return Diagnosis("disk", OK, found, facts=facts)
    return Diagnosis("disk", DOUBTFUL, found, "free space there, or choose another --workspace", facts)


def _writing(tried: Path, place: Path) -> Diagnosis:
    renames, locks = _renames(tried), _locks(tried)
    facts = {"atomic_renames": renames, "locks": locks}
    if not renames:
        advice = "choose a --workspace on another file system: files would be left half"
        return Diagnosis("writing", BROKEN, f"{place} does not rename a file over another", advice, facts)
    if not locks:
        advice = "let one process at a time work in a workspace there"
        return Diagnosis("writing", DOUBTFUL, f"{place} has no locks (flock)", advice, facts)
    return Diagnosis("writing", OK, f"locks and atomic renames in {place}", facts=facts)


def _renames(folder: Path) -> bool:
    old, new = folder / "old", folder / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    try:
        new.replace(old)
    except OSError:
        return False
    return old.read_bytes() == b"new" and not new.exists()


def _locks(folder: Path) -> bool:
    """Return whether a second handle is kept out while the first has the lock."""
    try:
        import fcntl
    except ImportError:
        return False
    with (folder / "lock").open("w") as first, (folder / "lock").open("w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def _kind(place: Path) -> str | None:
    """Return the kind of file system, as the system's list of mounts names it."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    mounts = [(Path(line.split()[1].encode().decode("unicode_escape")), line.split()[2]) for line in lines]
    around = [(len(mount.parts), kind) for mount, kind in mounts if place.is_relative_to(mount)]
    return max(around, default=(0, None))[1]
