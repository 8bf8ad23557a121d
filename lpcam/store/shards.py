"""Shards: the features of a run of photos, with an index in the header and a checksum over all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import index as whole
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lpcam import tensorfile
from lpcam.errors import LpcamError
from lpcam.records import Failure
from lpcam.store.description import DTYPES, REPAIR, SCHEMA, Description
from lpcam.store.features import PhotoFeatures

KEY = "lpcam"
DAMAGES = (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError)
"""What goes wrong when a file is read that was not written so."""


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.safetensors"


@dataclass(frozen=True)
class StoredPhoto:
    """Where a photo's rows lie.

    Attributes:
        name: Of the photo.
        labels: K class indices.
        size: (H, W) of the photo.
        grid: (h, w).
        shard: File name of its shard.
        row: First row in ``features``.
        offset: First value in ``cam``.
    """

    name: str
    labels: tuple[int, ...]
    size: tuple[int, int]
    grid: tuple[int, int]
    shard: str
    row: int
    offset: int

    @property
    def rows(self) -> int:
        """h·w, the number of local features."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class ShardIndex:
    """What a shard says of itself, as far as reading needs it.

    Attributes:
        photos: In their order.
        failures: Photos that could not be read.
    """

    photos: tuple[StoredPhoto, ...]
    failures: tuple[Failure, ...]


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
    except DAMAGES as error:
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
        if not {"fingerprint", "names", "photos", "failures"} <= header.keys():
            raise ValueError("an incomplete header")
        return header
    except DAMAGES as error:
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


def read_index(path: Path, description: Description) -> ShardIndex:
    """Read where everything lies in a shard, and refuse a shard in which it cannot lie so.

    Raises:
        LpcamError: the shard is missing or damaged, or belongs to another description.
    """
    header = shard_header(path)
    try:
        photos = tuple(_entries(path.name, header))
        failures = tuple(Failure(str(entry["name"]), str(entry["reason"])) for entry in header["failures"])
        with safe_open(path, framework="pt") as file:
            shapes = [tuple(file.get_slice(name).get_shape()) for name in ("features", "cam")]
        if header["fingerprint"] != description.fingerprint:
            raise ValueError("other features")
        classes = len(description.classes)
        if not all(0 <= label < classes for photo in photos for label in photo.labels):
            raise ValueError("labels that are no classes")
        if not all(min(*photo.grid, *photo.size) > 0 for photo in photos):
            raise ValueError("sizes that are none")
        rows = sum(photo.rows for photo in photos)
        values = sum(photo.rows * len(photo.labels) for photo in photos)
        if shapes != [(rows, description.channels), (values,)]:
            raise ValueError(f"features {shapes[0]} and CAM {shapes[1]} of {rows} positions")
    except DAMAGES as error:
        raise _damaged(path, error) from error
    return ShardIndex(photos, failures)


def _entries(shard: str, header: dict[str, Any]) -> Iterator[StoredPhoto]:
    row = offset = 0
    for entry in header["photos"]:
        size, grid = ((whole(value[0]), whole(value[1])) for value in (entry["size"], entry["grid"]))
        labels = tuple(whole(label) for label in entry["labels"])
        photo = StoredPhoto(str(entry["name"]), labels, size, grid, shard, row, offset)
        yield photo
        row += photo.rows
        offset += photo.rows * len(labels)
