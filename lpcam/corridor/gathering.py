"""The local features of one class: its photos, which of their positions are of a side, and where these lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lpcam.kmeans import VectorSource, placed, resident
from lpcam.profiles import Profile
from lpcam.prototypes import Gather, derived_seed, split_positions
from lpcam.store import Features, Kind

_DRAW = 2  # purpose of a derived seed; 0 and 1 are the k-means of the two sides


def draw(photos: Sequence[Kind], profile: Profile, seed: int, label: int) -> list[Kind]:
    """Draw the profile's number of a class's photos, with replacement as the COCO code does or without; 0 takes all.

    Args:
        photos: Of the split.
        profile: Hyper-parameters.
        seed: Of the data set.
        label: The class.
    """
    own = [photo for photo in photos if label in photo.labels]
    if profile.images_per_class == 0 or not own:
        return own
    generator = torch.Generator().manual_seed(derived_seed(seed, label, _DRAW))
    if profile.draw == "with":
        drawn = torch.randint(len(own), (profile.images_per_class,), generator=generator)
    else:
        drawn = torch.randperm(len(own), generator=generator)[: profile.images_per_class]
    return [own[index] for index in sorted(drawn.tolist())]


def gatherer(store: Features[Kind], profile: Profile, seed: int, device: str) -> Gather:
    """Return the source of one class's local features: rows in the order of the photos, whatever the shards."""

    def gather(label: int, side: str) -> Tensor | VectorSource:
        photos = draw(store.photos, profile, seed, label)
        masks = [split_positions(cam, profile.tau, side) for cam in store.cams(photos, label)]
        vectors = torch.empty(sum(int(mask.sum()) for mask in masks), store.channels)
        filled = 0
        for kept in rows_of(store, photos, masks):
            vectors[filled : filled + len(kept)] = kept
            filled += len(kept)
        return vectors[:filled] if device == "cpu" else near(vectors[:filled], device)

    return gather


def rows_of(store: Features[Kind], photos: Sequence[Kind], masks: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the [m, C] local features of each photo that are clustered, in the store's dtype.

    Args:
        store: Of the photos.
        photos: Of one class.
        masks: bool [h·w] of each, its positions of one side.
    """
    for mask, rows in zip(masks, store.rows(photos), strict=True):
        kept = rows[mask]
        yield kept[kept.any(dim=1)]  # a zero vector has no direction to cluster


def near(vectors: Tensor, device: str, block_rows: int | None = None) -> VectorSource:
    """Return vectors where they are clustered: on a device at once, where it has room for them, else block by block.

    Args:
        vectors: float32 [M, C].
        device: Where the work is done.
        block_rows: Rows of a block; by default what suits the device.
    """
    if device == "cpu":
        return resident(vectors, block_rows=block_rows)
    return placed(vectors, device, budget=_room(device), block_rows=block_rows)


def _room(device: str) -> int:
    """Return how many bytes of vectors a device takes beside what the clustering itself needs."""
    torch.cuda.empty_cache()
    return int(0.8 * torch.cuda.mem_get_info(device)[0])
