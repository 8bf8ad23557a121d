"""The features of a split, whether they lie on disk or in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from lpcam.store.description import Description


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
