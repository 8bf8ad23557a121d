"""A complete feature store, opened for reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.store.description import REPAIR, Description
from lpcam.store.manifest import ListedShard, listed, read_class_weights, read_manifest
from lpcam.store.shards import ShardIndex, StoredPhoto, read_index, require_shard


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
        shards = [self._index(shard) for shard in self.manifest.shards]
        self.photos = tuple(photo for shard in shards for photo in shard.photos)
        self.failures = tuple(failure for shard in shards for failure in shard.failures)
        self._sound: set[str] = set()

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
        return read_class_weights(self._folder, self.description)

    def require_shards(self) -> Iterator[Path]:
        """Yield every shard once its checksum was found to hold.

        Raises:
            LpcamError: that of one does not.
        """
        for shard in self.manifest.shards:
            self._require(shard.file)
            yield self._folder / shard.file

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
                self._require(photo.shard)
                file = safe_open(self._folder / photo.shard, framework="pt")
                opened = photo.shard
            yield file.get_slice(name)[first : first + count]

    def _require(self, name: str) -> None:
        """Check the checksum of a shard, once in the life of this store."""
        if name not in self._sound:
            require_shard(self._folder / name)
            self._sound.add(name)

    def _index(self, shard: ListedShard) -> ShardIndex:
        path = self._folder / shard.file
        found = read_index(path, self.manifest.description)
        if listed(path) != asdict(shard):
            raise LpcamError(f"{path} does not belong to its manifest: {REPAIR}")
        return found


def is_complete(folder: Path, description: Description) -> bool:
    """Return whether a whole store of this description is there, in whatever shards, without a failed photo."""
    try:
        store = FeatureStore(folder)
    except LpcamError:
        return False
    return store.manifest.description == description and not store.failures
