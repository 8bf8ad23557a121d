"""Shards: the features of a run of photos, with an index in the header and a checksum over all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from lpcam import tensorfile
from lpcam.errors import LpcamError
from lpcam.records import Failure
from lpcam.store.description import DTYPES, REPAIR, SCHEMA, Description
from lpcam.store.features import PhotoFeatures

KEY = "lpcam"
_DAMAGES = (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError)


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.safetensors"


def write_shard(
    folder: Path,
    index: int,
    photos: Sequence[PhotoFeatures],
    failures: Sequence[Failure],
    description: Description,
    names: Sequence[str],
) -> None:
    """Write one shard, atomically.

    Args:
        folder: Of the store.
        index: Of the shard.
        photos: What was extracted.
        failures: Photos of this shard that could not be.
        description: What the features are.
        names: All photos this shard is answerable for.
    """
    dtype = DTYPES[description.dtype]
    rows = [photo.features.flatten(1).T.to(dtype) for photo in photos]
    cams = [photo.cam.flatten().float() for photo in photos]
    tensors = {
        "features": torch.cat(rows) if rows else torch.zeros(0, description.channels, dtype=dtype),
        "cam": torch.cat(cams) if cams else torch.zeros(0),
    }
    header = {
        "schema": SCHEMA,
        "fingerprint": description.fingerprint,
        "names": list(names),
        "photos": [_header_entry(photo) for photo in photos],
        "failures": [asdict(failure) for failure in failures],
    }
    tensorfile.save(folder / shard_name(index), tensors, KEY, json.dumps(header, sort_keys=True))


def shard_is_written(folder: Path, index: int, description: Description, names: Sequence[str]) -> bool:
    """Return whether a shard is there: of this description, of exactly these photos."""
    return _written_header(folder, index, description, names) is not None


def shard_is_complete(folder: Path, index: int, description: Description, names: Sequence[str]) -> bool:
    """Return whether a shard needs no work: it is written, its checksum holds, and no photo failed."""
    header = _written_header(folder, index, description, names)
    return header is not None and not header["failures"] and _holds(folder / shard_name(index))


def require_shard(path: Path) -> None:
    """Read a shard block by block and raise where it does not hold what was written.

    Raises:
        LpcamError: it is missing or damaged.
    """
    try:
        tensorfile.require_checksum(path, KEY)
    except _DAMAGES as error:
        raise _damaged(path, error) from error


def holds_other(folder: Path, description: Description) -> bool:
    """Return whether a folder holds shards of another description, whole or not yet."""
    fingerprints = {_fingerprint_or_none(path) for path in shard_files(folder)}
    return bool(fingerprints - {None, description.fingerprint})


def shard_files(folder: Path) -> list[Path]:
    """Return the shards that lie in a folder, sorted."""
    return sorted(folder.glob("shard-*.safetensors")) if folder.is_dir() else []


def shard_header(path: Path) -> dict[str, Any]:
    """Return what a shard says of itself: schema, fingerprint, names, photos and failures.

    Raises:
        LpcamError: it is missing, half-written or of another version.
    """
    if not path.is_file():
        raise LpcamError(f"{path} does not exist: {REPAIR}")
    try:
        header = tensorfile.description_of(path, KEY)
        if header["schema"] != SCHEMA:
            raise ValueError("another schema")
        return header
    except _DAMAGES as error:
        raise _damaged(path, error) from error


def _written_header(folder: Path, index: int, description: Description, names: Sequence[str]) -> dict[str, Any] | None:
    try:
        header = shard_header(folder / shard_name(index))
    except LpcamError:
        return None
    same = header["fingerprint"] == description.fingerprint and header["names"] == list(names)
    return header if same else None


def _holds(path: Path) -> bool:
    try:
        require_shard(path)
    except LpcamError:
        return False
    return True


def _damaged(path: Path, error: Exception) -> LpcamError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return LpcamError(f"{path} is half-written or damaged ({reason}): {REPAIR}")


def _fingerprint_or_none(path: Path) -> str | None:
    try:
        return str(shard_header(path)["fingerprint"])
    except LpcamError:
        return None


def _header_entry(photo: PhotoFeatures) -> dict[str, Any]:
    return {
        "name": photo.name,
        "labels": photo.labels,
        "size": photo.size,
        "grid": list(photo.features.shape[1:]),
    }
