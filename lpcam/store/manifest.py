"""The manifest, the last file of a store: without it the store is not complete."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam import tensorfile
from lpcam.errors import LpcamError
from lpcam.files import await_file, read_json, write_json
from lpcam.store.description import REPAIR, SCHEMA, Description
from lpcam.store.shards import KEY, shard_files, shard_name
from lpcam.tensorfile import FileKind, require_kinds

CLASS_WEIGHTS = "class_weights.safetensors"
MANIFEST = "manifest.json"
_WEIGHTS = FileKind("lpcam-class-weights", "file of class weights", "lpcam extract-features")


@dataclass(frozen=True)
class ListedShard:
    """What the manifest says of a shard.

    Attributes:
        file: Its name.
        bytes: Its size.
        sha256: Its checksum.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The last file of a store.

    Attributes:
        description: What the features are.
        sources: Where data set and classifier came from.
        shards: What is known of every shard.
        dumped: Whether the features were kept.
    """

    description: Description
    sources: dict[str, Any]
    shards: tuple[ListedShard, ...]
    dumped: bool = True


def write_manifest(
    folder: Path,
    description: Description,
    shards: int,
    class_weights: Tensor,
    sources: dict[str, Any],
    *,
    dumped: bool = True,
) -> None:
    """Write the class weights and then the manifest, the last file of a store: without it a store is not complete.

    Args:
        folder: Of the store.
        description: What the features are.
        shards: Number of shards; files of more shards than these are removed.
        class_weights: float32 [K, C] of the classifier: clustering needs them and not the network.
        sources: Where data set and classifier came from, so that later stages need not be told again.
        dumped: False where the features were clustered from memory and are not kept.
    """
    files = [shard_name(index) for index in range(shards)]
    for name in files:
        await_file(folder / name)
    for path in set(shard_files(folder)) - {folder / name for name in files}:
        path.unlink(missing_ok=True)
    _WEIGHTS.save(folder / CLASS_WEIGHTS, {"class_weights": class_weights.cpu().contiguous()}, "{}")
    write_json(
        folder / MANIFEST,
        {
            "schema": SCHEMA,
            "fingerprint": description.fingerprint,
            "description": asdict(description),
            "sources": sources,
            "dumped": dumped,
            "shards": [listed(folder / name) for name in files],
        },
        sealed=True,
    )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        LpcamError: it is missing (the store is not complete), damaged or of another version.
    """
    written = len(shard_files(folder))
    if written and not (folder / MANIFEST).exists():
        raise LpcamError(
            f"{folder} has {written} shards and no manifest yet: wait for the processes that still extract, or, "
            "if none is running, run 'lpcam extract-features' again to complete it"
        )
    if not (folder / MANIFEST).exists():
        raise LpcamError(
            f"there are no features in {folder}: run 'lpcam extract-features' first, or name the folder of its run "
            "by --workspace"
        )
    value = read_json(folder / MANIFEST, repair=REPAIR)
    if value.get("schema") != SCHEMA:
        raise LpcamError(
            f"{folder} has schema {value.get('schema')}, this version reads {SCHEMA}: "
            "run 'lpcam extract-features --overwrite'"
        )
    try:
        return Manifest(
            _description(value["description"]),
            dict(value["sources"]),
            tuple(
                ListedShard(_shard_file(shard["file"]), int(shard["bytes"]), str(shard["sha256"]))
                for shard in value["shards"]
            ),
            bool(value.get("dumped", True)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LpcamError(f"{folder / 'manifest.json'} is damaged ({error!r}): {REPAIR}") from error


def clear(folder: Path) -> None:
    """Remove a store's files, the manifest first."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in shard_files(folder):
        path.unlink()


def read_class_weights(folder: Path, description: Description) -> Tensor:
    """Read the classifier's class weights: float32 [K, C].

    Raises:
        LpcamError: they are missing, damaged, not finite or of another shape.
    """

    def unpack(tensors: dict[str, Tensor], _: dict[str, Any]) -> Tensor:
        require_kinds(tensors, {"class_weights": (torch.float32, 2)})
        weights, shape = tensors["class_weights"], (len(description.classes), description.channels)
        if tuple(weights.shape) != shape or not bool(weights.isfinite().all()):
            raise ValueError(f"weights {list(weights.shape)}, or what is not finite, in place of {list(shape)}")
        return weights

    return _WEIGHTS.load(folder / CLASS_WEIGHTS, unpack)


def listed(path: Path) -> dict[str, Any]:
    """Return what the manifest says of a shard that is there."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": tensorfile.checksum_of(path, KEY)}


def _shard_file(name: str) -> str:
    """Return the file name of a shard, which leads to no other folder."""
    if Path(name).name != name:
        raise ValueError(f"'{name}' is no shard")
    return name


def _description(value: dict[str, Any]) -> Description:
    return Description(**{**value, "classes": tuple(value["classes"]), "scales": tuple(value["scales"])})
