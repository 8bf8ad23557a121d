"""One class over several workers: each holds a run of its rows, and only tallies, directions and single rows travel.

A part begins and ends where a block does, so the blocks are those of one process, and what `lpcam.kmeans.Joined` makes
of their tallies is the same to the byte. Where that is follows from the rows of every photo. The workers count them by
the CAM, which reads no features; only zero vectors, which are left out and are rare, are found when features are read.
Then the counts are known to be too high, and the parts are divided by the right ones and read once more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.corridor.gathering import draw, near, rows_of
from lpcam.engines import Crew, Placement, Runner, Tick, runs_here
from lpcam.errors import LpcamError
from lpcam.forward import resolve_device
from lpcam.kmeans import Holder, Joined, block_rows_on
from lpcam.profiles import Profile
from lpcam.prototypes import Gather, split_positions
from lpcam.store import Features, FeatureStore, StoredPhoto


@dataclass(frozen=True)
class Count:
    """Asks for the positions of a side in each of some photos, and lets go what was held before.

    Attributes:
        label: The class.
        side: ``object`` or ``rest``.
        photos: Of those drawn for the class, by number.
    """

    label: int
    side: str
    photos: range


@dataclass(frozen=True)
class Hold:
    """Asks to read a part of a side and to hold it.

    Attributes:
        label: The class.
        side: ``object`` or ``rest``.
        photos: Those that the part touches, by number.
        skip: Rows of the first of them that belong to the part before.
        rows: Of the part.
        block_rows: Rows of a block.
    """

    label: int
    side: str
    photos: range
    skip: int
    rows: int
    block_rows: int


@dataclass(frozen=True)
class Held:
    """What a worker says of the part it holds.

    Attributes:
        counts: Rows of each of the photos, zero vectors left out.
        usable: bool [rows], which have a direction.
    """

    counts: tuple[int, ...]
    usable: Tensor


@dataclass(frozen=True)
class SpreadJob:
    """What a worker needs to know to hold parts of classes.

    Attributes:
        features: Folder of the store.
        profile: Hyper-parameters.
        seed: Of the image draw.
    """

    features: Path
    profile: Profile
    seed: int

    def open(self, device: str) -> Runner:
        """Open the store and return the function that answers."""
        return _Worker(FeatureStore(self.features), self.profile, self.seed, resolve_device(device)).answer


def refuse_spread(kmeans: str, placement: Placement, device: str) -> None:
    """Refuse what cannot be spread.

    Raises:
        LpcamError: k-means is FAISS's, or there is one worker only.
    """
    if kmeans == "faiss":
        raise LpcamError("FAISS needs a class in one process: leave --kmeans faiss out, or --spread")
    if runs_here(placement, device):
        raise LpcamError("--spread divides a class over workers, and there is one: add --processes N or --engine ray")


def spread_gatherer(store: Features[Any], profile: Profile, seed: int, crew: Crew) -> Gather:
    """Return the source of one class's local features, whose rows a crew of `SpreadJob` holds.

    Args:
        store: Of the features.
        profile: Hyper-parameters.
        seed: Of the image draw.
        crew: Holds one side of one class at a time.
    """

    def gather(label: int, side: str) -> Joined:
        photos = len(draw(store.photos, profile, seed, label))
        shares = pairwise(photos * worker // crew.size for worker in range(crew.size + 1))
        counted = crew.ask({worker: Count(label, side, range(*share)) for worker, share in enumerate(shares)})
        counts = [count for worker in range(crew.size) for count in counted[worker]]
        return _held(crew, label, side, counts, store.channels)

    return gather


def parts_of_blocks(counts: Sequence[int], block_rows: int, workers: int) -> list[tuple[range, int, int]]:
    """Divide rows over workers by whole blocks: for each part the photos it touches, rows to skip, and its rows.

    Args:
        counts: Rows of every photo.
        block_rows: Rows of a block.
        workers: Most parts; there are no more than blocks.

    >>> parts_of_blocks([3, 0, 4, 2], 4, 2)
    [(range(0, 3), 0, 4), (range(2, 4), 1, 5)]
    """
    ends = list(accumulate(counts))
    rows = ends[-1] if ends else 0
    blocks = -(-rows // block_rows)
    parts = min(workers, blocks)
    edges = [min(rows, blocks * part // parts * block_rows) for part in range(parts + 1)] if parts else []
    return [_part(counts, ends, first, last) for first, last in pairwise(edges)]


def _part(counts: Sequence[int], ends: Sequence[int], first: int, last: int) -> tuple[range, int, int]:
    photo = bisect_right(ends, first)
    return range(photo, bisect_left(ends, last) + 1), first - (ends[photo] - counts[photo]), last - first


def _held(crew: Crew, label: int, side: str, counts: list[int], channels: int) -> Joined:
    """Have the parts held; where zero vectors made a count too high, divide by the right counts and read again."""
    block_rows = block_rows_on(crew.device)
    parts = enumerate(parts_of_blocks(counts, block_rows, crew.size))
    orders = {worker: Hold(label, side, *part, block_rows) for worker, part in parts}
    answers: dict[int, Held] = crew.ask(orders)
    found = list(counts)
    for worker, order in orders.items():
        found[order.photos.start : order.photos.stop] = answers[worker].counts
    if found != counts:
        return _held(crew, label, side, found, channels)
    return Joined([answers[worker].usable for worker in orders], channels, crew.ask)


class _Worker:
    """Holds a part of one side of one class."""

    def __init__(self, store: FeatureStore, profile: Profile, seed: int, device: str) -> None:
        self._store, self._profile, self._seed, self._device = store, profile, seed, device
        self._holder: Holder | None = None

    def answer(self, question: Any, tick: Tick) -> Any:
        """Answer `Count`, `Hold`, or what `lpcam.kmeans.Holder` does."""
        if isinstance(question, Count):
            self._holder = None
            return [int(mask.sum()) for mask in self._masks(question, self._photos(question))]
        if isinstance(question, Hold):
            return self._hold(question)
        if self._holder is None:
            raise ValueError(f"expected a part to be held before {type(question).__name__}, got none")
        return self._holder.answer(question)

    def _hold(self, order: Hold) -> Held:
        self._holder = None  # its memory, before that of the next part
        photos = self._photos(order)
        vectors = torch.empty(order.rows, self._store.channels)
        counts, skip, filled = [], order.skip, 0
        for kept in rows_of(self._store, photos, self._masks(order, photos)):
            counts.append(len(kept))
            own = kept[skip : skip + order.rows - filled]
            skip = max(0, skip - len(kept))
            vectors[filled : filled + len(own)] = own
            filled += len(own)
        source = near(vectors[:filled], self._device, order.block_rows)
        self._holder = Holder(source)
        return Held(tuple(counts), source.usable)

    def _photos(self, question: Count | Hold) -> list[StoredPhoto]:
        drawn = draw(self._store.photos, self._profile, self._seed, question.label)
        return drawn[question.photos.start : question.photos.stop]

    def _masks(self, question: Count | Hold, photos: Sequence[StoredPhoto]) -> list[Tensor]:
        cams = self._store.cams(photos, question.label)
        return [split_positions(cam, self._profile.tau, question.side) for cam in cams]
