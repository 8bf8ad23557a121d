"""The feature store: local features and the CAM that splits them, in safetensors shards, manifest last.

A shard holds a run of photos: ``features`` [M, C] in the store's dtype, a row for every grid position, photos one
after the other; ``cam`` float32, for every photo K·h·w values. What lies where is in the shard's own header, so a
store that was interrupted is continued from its whole shards alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.files import read_json, write_atomically, write_json
from lpcam.records import Failure

SCHEMA = 2
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
CLASS_WEIGHTS = "class_weights.safetensors"
MANIFEST = "manifest.json"
REPAIR = "run 'lpcam extract-features' again to complete it"


@dataclass(frozen=True)
class Description:
    """What the features are; two stores with one description hold the same values.

    Attributes:
        classes: Class names by index.
        dataset: Kind of data set.
        split: Name of the split.
        photos: Fingerprint of the split's names and labels.
        weights_sha256: Identity of the classifier.
        arch: Its architecture.
        layer: The layer the features come from.
        stride: Output stride.
        channels: C.
        scales: Scales of the CAM; the features are those of scale 1 without mirror.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        precision: Number format of the forward passes.
        origin: ``imported`` where another tool extracted them.
    """

    classes: tuple[str, ...]
    dataset: str
    split: str
    photos: str
    weights_sha256: str
    arch: str
    layer: str
    stride: int
    channels: int
    scales: tuple[float, ...]
    dtype: str
    precision: str = "float32"
    origin: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it and the store's schema."""
        values = {name: value for name, value in asdict(self).items() if name != "origin" or value}
        return hashlib.sha256(json.dumps([SCHEMA, values], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class PhotoFeatures:
    """What is stored of one photo.

    Attributes:
        name: Of the photo.
        labels: K class indices.
        size: (H, W) of the photo.
        features: [C, h, w] at scale 1, without mirror.
        cam: float32 [K, h, w], the normalised multi-scale CAM sampled at the grid, 0..1.
    """

    name: str
    labels: tuple[int, ...]
    size: tuple[int, int]
    features: Tensor
    cam: Tensor


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


class Labelled(Protocol):
    """A photo with a name and image-level labels."""

    @property
    def name(self) -> str:
        """Of the photo."""

    @property
    def labels(self) -> tuple[int, ...]:
        """K class indices."""


Kind = TypeVar("Kind", bound=Labelled)


class Features(Protocol[Kind]):
    """The features of a split, as clustering reads them: from a store on disk, or from memory."""

    @property
    def photos(self) -> Sequence[Kind]:
        """In a fixed order."""

    @property
    def channels(self) -> int:
        """C, the length of a local feature."""

    def rows(self, photos: Iterable[Kind]) -> Iterator[Tensor]:
        """Yield the [h·w, C] local features of each photo, in the store's dtype."""

    def cams(self, photos: Iterable[Kind], label: int) -> Iterator[Tensor]:
        """Yield the float32 [h·w] CAM of one class of each photo, which must carry the label."""


class Described(Features[Any], Protocol):
    """Features that say what they are and whose classifier they come from."""

    @property
    def description(self) -> Description:
        """What the features are."""

    def class_weights(self) -> Tensor:
        """Return the classifier's class weights: float32 [K, C]."""


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
    metadata = {"lpcam": json.dumps(header, sort_keys=True)}
    write_atomically(folder / shard_name(index), lambda partial: save_file(tensors, partial, metadata))


def shard_is_written(folder: Path, index: int, description: Description, names: Sequence[str]) -> bool:
    """Return whether a shard is there: whole, of this description, of exactly these photos."""
    return _written_header(folder, index, description, names) is not None


def shard_is_complete(folder: Path, index: int, description: Description, names: Sequence[str]) -> bool:
    """Return whether a shard needs no work: it is written, and no photo failed."""
    header = _written_header(folder, index, description, names)
    return header is not None and not header["failures"]


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
    for path in set(shard_files(folder)) - {folder / name for name in files}:
        path.unlink(missing_ok=True)
    tensors = {"class_weights": class_weights.cpu().contiguous()}
    write_atomically(folder / CLASS_WEIGHTS, lambda partial: save_file(tensors, partial))
    write_json(
        folder / MANIFEST,
        {
            "schema": SCHEMA,
            "fingerprint": description.fingerprint,
            "description": asdict(description),
            "sources": sources,
            "dumped": dumped,
            "shards": [{"file": name, "bytes": (folder / name).stat().st_size} for name in files],
        },
    )


@dataclass(frozen=True)
class Manifest:
    """The last file of a store.

    Attributes:
        description: What the features are.
        sources: Where data set and classifier came from.
        shards: File name and size in bytes of every shard.
        dumped: Whether the features were kept.
    """

    description: Description
    sources: dict[str, Any]
    shards: tuple[tuple[str, int], ...]
    dumped: bool = True


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
            tuple((str(shard["file"]), int(shard["bytes"])) for shard in value["shards"]),
            bool(value.get("dumped", True)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LpcamError(f"{folder / 'manifest.json'} is damaged ({error!r}): {REPAIR}") from error


def is_complete(folder: Path, description: Description) -> bool:
    """Return whether a whole store of this description is there, in whatever shards, without a failed photo."""
    try:
        store = FeatureStore(folder)
    except LpcamError:
        return False
    return store.manifest.description == description and not store.failures


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
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["lpcam"])
        if not isinstance(header, dict) or header["schema"] != SCHEMA:
            raise ValueError("another schema")
        return header
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise LpcamError(f"{path} is half-written or damaged ({error}): {REPAIR}") from error


def clear(folder: Path) -> None:
    """Remove a store's files, the manifest first."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in shard_files(folder):
        path.unlink()


class FeatureStore:
    """A complete feature store, opened for reading.

    Attributes:
        manifest: What the features are and where they came from.
        photos: In the order of the split.
        failures: Photos that could not be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = read_manifest(folder)
        if not self.manifest.dumped:
            raise LpcamError(
                f"the features of {folder} were clustered from memory and not kept: "
                "run 'lpcam extract-features' to write them"
            )
        headers = [(name, self._checked_header(name, size)) for name, size in self.manifest.shards]
        self.photos = tuple(photo for name, header in headers for photo in _entries(name, header))
        self.failures = tuple(Failure(**failure) for _, header in headers for failure in header["failures"])

    @property
    def description(self) -> Description:
        """What the features are."""
        return self.manifest.description

    @property
    def channels(self) -> int:
        """C, the length of a local feature."""
        return self.manifest.description.channels

    def class_weights(self) -> Tensor:
        """Return the classifier's class weights: float32 [K, C]."""
        path = self._folder / CLASS_WEIGHTS
        try:
            with safe_open(path, framework="pt") as file:
                weights: Tensor = file.get_tensor("class_weights")
                return weights
        except (SafetensorError, OSError) as error:
            raise LpcamError(f"{path} is missing or damaged ({error}): {REPAIR}") from error

    def rows(self, photos: Iterable[StoredPhoto]) -> Iterator[Tensor]:
        """Yield the [h·w, C] local features of each photo, in the store's dtype, read lazily."""
        yield from self._slices("features", ((photo, photo.row, photo.rows) for photo in photos))

    def cams(self, photos: Iterable[StoredPhoto], label: int) -> Iterator[Tensor]:
        """Yield the float32 [h·w] CAM of one class of each photo, which must carry the label."""
        yield from self._slices(
            "cam",
            ((photo, photo.offset + photo.labels.index(label) * photo.rows, photo.rows) for photo in photos),
        )

    def _slices(self, name: str, wanted: Iterable[tuple[StoredPhoto, int, int]]) -> Iterator[Tensor]:
        opened = ""
        file: Any = None
        for photo, first, count in wanted:
            if photo.shard != opened:
                file = safe_open(self._folder / photo.shard, framework="pt")
                opened = photo.shard
            yield file.get_slice(name)[first : first + count]

    def _checked_header(self, name: str, size: int) -> dict[str, Any]:
        path = self._folder / name
        header = shard_header(path)
        if path.stat().st_size != size or header["fingerprint"] != self.manifest.description.fingerprint:
            raise LpcamError(f"{path} does not belong to its manifest: {REPAIR}")
        return header


class MemoryFeatures(Generic[Kind]):
    """The features of a split in memory; clustering reads them as it reads a `FeatureStore`.

    Attributes:
        photos: Of the split, in its order.
        channels: C.
    """

    def __init__(self, photos: Sequence[Kind], entries: Mapping[str, PhotoFeatures], channels: int) -> None:
        """Take what was extracted.

        Args:
            photos: Of the split, without those that could not be read.
            entries: Of all photos that are going to be asked for, by name, in the dtype of a store.
            channels: C.
        """
        self.photos = photos
        self.channels = channels
        self._entries = entries

    def rows(self, photos: Iterable[Kind]) -> Iterator[Tensor]:
        """Yield the [h·w, C] local features of each photo, as views."""
        return (self._entries[photo.name].features.flatten(1).T for photo in photos)

    def cams(self, photos: Iterable[Kind], label: int) -> Iterator[Tensor]:
        """Yield the float32 [h·w] CAM of one class of each photo, which must carry the label."""
        return (self._entries[photo.name].cam[photo.labels.index(label)].flatten() for photo in photos)


def _written_header(folder: Path, index: int, description: Description, names: Sequence[str]) -> dict[str, Any] | None:
    try:
        header = shard_header(folder / shard_name(index))
    except LpcamError:
        return None
    same = header["fingerprint"] == description.fingerprint and header["names"] == list(names)
    return header if same else None


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


def _entries(shard: str, header: dict[str, Any]) -> Iterator[StoredPhoto]:
    row = offset = 0
    for entry in header["photos"]:
        photo = StoredPhoto(
            name=entry["name"],
            labels=tuple(entry["labels"]),
            size=(entry["size"][0], entry["size"][1]),
            grid=(entry["grid"][0], entry["grid"][1]),
            shard=shard,
            row=row,
            offset=offset,
        )
        yield photo
        row += photo.rows
        offset += photo.rows * len(photo.labels)


def _description(value: dict[str, Any]) -> Description:
    return Description(**{**value, "classes": tuple(value["classes"]), "scales": tuple(value["scales"])})
