"""What a prototype sees: its nearest patches in the photos, where on the objects it lies, and what looks like it.

A prototype p is compared with every local feature f of the photos of its class by cos(f, p), as LPCAM compares them;
a position belongs to the prototype, class or context, that is nearest to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from torch import Tensor

from lpcam.datasets import read_mask
from lpcam.prototypes import Centres, Prototypes
from lpcam.records import Photo
from lpcam.store import FeatureStore, StoredPhoto

PLACES = 12
"""Cells a side of the picture of where on an object a prototype lies."""

_POINTS = 240
_ALIKE = 2


@dataclass(frozen=True)
class Patch:
    """A position of a photo.

    Attributes:
        photo: Name of the photo.
        row: Of its feature grid.
        column: Of its feature grid.
        grid: (h, w).
        cosine: With the prototype, -1..1.
    """

    photo: str
    row: int
    column: int
    grid: tuple[int, int]
    cosine: float


@dataclass(frozen=True)
class Alike:
    """A prototype of another class, and its cosine."""

    name: str
    cosine: float


@dataclass(frozen=True)
class Sight:
    """What one prototype sees.

    Attributes:
        name: Class, side and number, the largest cluster first: ``sheep 1``, ``sheep context 2``.
        is_object: A class prototype; else a context prototype.
        score: z of Eq. 3, 0..1.
        size: Local features in its cluster.
        patches: The nearest, one a photo, the nearest first.
        share: Of the positions that belong to it, those on a true object of its class, 0..1; None without masks.
        places: int64 [PLACES, PLACES], how many positions of the objects' bounding boxes belong to it.
        alike: The most similar prototypes of other classes, the most similar first.
    """

    name: str
    is_object: bool
    score: float
    size: int
    patches: tuple[Patch, ...]
    share: float | None
    places: NDArray[np.int64]
    alike: tuple[Alike, ...]


@dataclass(frozen=True)
class Plane:
    """Local features and prototypes of a class on the plane of their largest variance (PCA of f/‖f‖).

    Attributes:
        points: float32 [M, 2].
        is_object: bool [M], on the object's side of the CAM; the others lie on the other side.
        prototypes: float32 [P, 2], in the order of the sights.
        explained: Shares of the variance along both axes, 0..1.
    """

    points: Tensor
    is_object: Tensor
    prototypes: Tensor
    explained: tuple[float, float]


@dataclass(frozen=True)
class ClassSight:
    """What the prototypes of one class see.

    Attributes:
        label: The class index.
        photos: How many photos were looked through.
        sights: One a prototype: class prototypes, then context prototypes.
        plane: Features and prototypes.
    """

    label: int
    photos: int
    sights: tuple[Sight, ...]
    plane: Plane


@dataclass(frozen=True)
class Kept:
    """The prototypes of one class in the order they are shown.

    Attributes:
        names: As `Sight.name`.
        vectors: float32 [P, C], of length 1.
        is_object: bool [P].
        scores: float32 [P].
        sizes: int64 [P].
    """

    names: tuple[str, ...]
    vectors: Tensor
    is_object: Tensor
    scores: Tensor
    sizes: Tensor


def kept(prototypes: Prototypes) -> tuple[Kept, ...]:
    """Return the prototypes of every class, class prototypes before context prototypes, large clusters before small."""
    classes = prototypes.provenance.classes
    return tuple(_kept(name, centres) for name, centres in zip(classes, prototypes.centres, strict=True))


def look(
    store: FeatureStore,
    photos: Mapping[str, Photo],
    everything: Sequence[Kept],
    label: int,
    *,
    tau: float,
    patches: int,
    most: int,
) -> ClassSight:
    """Look through the photos of a class.

    Args:
        store: Their features.
        photos: By name, for their masks; a photo that is missing has none.
        everything: The prototypes of all classes, see `kept`.
        label: The class.
        tau: Above it in the CAM lies the object's side, 0..1.
        patches: Of a prototype, at most.
        most: Photos, at most; of more as many are taken evenly.
    """
    own = everything[label]
    labelled = [photo for photo in store.photos if label in photo.labels]
    stored = [labelled[place] for place in _evenly(len(labelled), most)]
    tally = _Tally(own, patches)
    sample = _Sample(_POINTS // max(1, len(stored)) + 1, tau)
    for photo, rows, cam in zip(stored, store.rows(stored), store.cams(stored, label), strict=True):
        features = F.normalize(rows.float(), dim=1)
        tally.add(photo, features @ own.vectors.T, _boxes(photos.get(photo.name), label, photo.grid))
        sample.add(features, cam)
    alike = _alike(everything, label)
    return ClassSight(label, len(stored), tally.sights(alike), _plane(sample, own.vectors))


class _Tally:
    """What belongs to every prototype of a class, photo by photo."""

    def __init__(self, own: Kept, patches: int) -> None:
        self._own, self._patches = own, patches
        self._nearest: list[list[Patch]] = [[] for _ in own.names]
        self._places = np.zeros((len(own.names), PLACES, PLACES), np.int64)
        self._on_object = np.zeros(len(own.names), np.int64)
        self._seen = np.zeros(len(own.names), np.int64)  # in photos with a mask

    def add(self, photo: StoredPhoto, cosines: Tensor, boxes: _Boxes | None) -> None:
        """Count one photo: cosines [h·w, P]."""
        if not self._own.names:
            return
        for prototype, (value, place) in enumerate(zip(*cosines.max(dim=0), strict=True)):
            row, column = divmod(int(place), photo.grid[1])
            self._keep(prototype, Patch(photo.name, row, column, photo.grid, float(value)))
        if boxes is not None:
            owner = cosines.argmax(dim=1).numpy()
            self._seen += np.bincount(owner, minlength=len(self._seen))
            self._on_object += np.bincount(owner[boxes.inside], minlength=len(self._seen))
            np.add.at(self._places, (owner[boxes.position], boxes.row, boxes.column), 1)

    def sights(self, alike: Callable[[int], tuple[Alike, ...]]) -> tuple[Sight, ...]:
        """Return what was counted."""
        own = self._own
        return tuple(
            Sight(
                name,
                bool(own.is_object[index]),
                float(own.scores[index]),
                int(own.sizes[index]),
                tuple(self._nearest[index]),
                int(self._on_object[index]) / int(self._seen[index]) if self._seen[index] else None,
                self._places[index],
                alike(index),
            )
            for index, name in enumerate(own.names)
        )

    def _keep(self, prototype: int, patch: Patch) -> None:
        nearest = [*self._nearest[prototype], patch]
        self._nearest[prototype] = sorted(nearest, key=lambda each: (-each.cosine, each.photo))[: self._patches]


@dataclass(frozen=True)
class _Boxes:
    """Where the grid positions of a photo lie on its objects.

    Attributes:
        inside: bool [h·w], on an object.
        position: int [B], positions within the bounding box of an object.
        row: int [B], the row of `PLACES` each falls into.
        column: int [B], the column.
    """

    inside: NDArray[np.bool_]
    position: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]


def _boxes(photo: Photo | None, label: int, grid: tuple[int, int]) -> _Boxes | None:
    """Return where positions lie on the objects of a class, an object being a connected region of the true mask."""
    if photo is None or photo.mask is None:
        return None
    mask = read_mask(photo) == label + 1
    regions, count = ndimage.label(mask)
    ys, xs = (_middles(cells, side) for cells, side in zip(grid, mask.shape, strict=True))
    inside = mask[np.ix_(ys.astype(int), xs.astype(int))].ravel()
    found = [_inside_box(box, ys, xs) for box in ndimage.find_objects(regions, count)]
    return _Boxes(inside, *(np.concatenate(each) for each in zip(_NONE, *found, strict=True)))


_NONE = (np.zeros(0, np.int64),) * 3


def _middles(cells: int, side: int) -> NDArray[np.float64]:
    """Return the middle of every grid cell in pixels.

    >>> _middles(2, 8).tolist()
    [2.0, 6.0]
    """
    middles: NDArray[np.float64] = (np.arange(cells) + 0.5) * side / cells
    return middles


def _inside_box(
    box: tuple[slice, slice], ys: NDArray[np.float64], xs: NDArray[np.float64]
) -> tuple[NDArray[np.int64], ...]:
    """Return the positions in a box, and row and column of `PLACES`."""
    rows, columns = (_cells(side, middles) for side, middles in zip(box, (ys, xs), strict=True))
    inside = (rows >= 0)[:, None] & (columns >= 0)[None]
    row, column = (each[inside] for each in np.broadcast_arrays(rows[:, None], columns[None]))
    return np.flatnonzero(inside), row, column


def _cells(side: slice, middles: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of `PLACES` cells of a box's side each middle falls into; -1 outside."""
    share = (middles - side.start) / (side.stop - side.start)
    return np.where((share >= 0) & (share < 1), (share * PLACES).astype(np.int64), -1)


class _Sample:
    """A few local features of every photo, from both sides of the CAM."""

    def __init__(self, each: int, tau: float) -> None:
        self._each, self._tau = each, tau
        self.objects: list[Tensor] = []
        self.rest: list[Tensor] = []

    def add(self, features: Tensor, cam: Tensor) -> None:
        """Take a few features of one photo, [h·w, C], by its CAM, [h·w]."""
        self.objects.append(_thinned(features[cam > self._tau], self._each))
        self.rest.append(_thinned(features[cam < self._tau], self._each))


def _plane(sample: _Sample, prototypes: Tensor) -> Plane:
    sides = [_thinned(torch.cat([*side, prototypes[:0]]), _POINTS) for side in (sample.objects, sample.rest)]
    everything = torch.cat([*sides, prototypes])
    if len(everything) == 0:
        return Plane(torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool), torch.zeros(0, 2), (0.0, 0.0))
    points, explained = pca(everything)
    count = len(sides[0]) + len(sides[1])
    return Plane(points[:count], torch.arange(count) < len(sides[0]), points[count:], explained)


def pca(vectors: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Return vectors [M, C] on the plane of their largest variance, float32 [M, 2], and the shares of both axes.

    An axis points to where the largest coordinate of its direction is positive, so that the picture is the same twice.

    >>> points, explained = pca(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))
    >>> points.tolist(), explained
    ([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], (1.0, 0.0))
    """
    centred = (vectors - vectors.mean(dim=0)).double()
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    axes = F.pad(directions[:2], (0, 0, 0, max(0, 2 - len(directions))))
    signs = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    variances = F.pad(values.square(), (0, 2))[:2] / values.square().sum().clamp_min(torch.finfo(torch.double).tiny)
    return (centred @ (axes * signs).T + 0.0).float(), (float(variances[0]), float(variances[1]))


def _kept(name: str, centres: Centres) -> Kept:
    sides = (centres.is_object & centres.selected, ~centres.is_object & centres.selected)
    orders = [_largest_first(centres.sizes, side) for side in sides]
    names = [f"{name} {number}" for number in range(1, len(orders[0]) + 1)]
    names += [f"{name} context {number}" for number in range(1, len(orders[1]) + 1)]
    order = torch.cat(orders)
    columns = (centres.is_object[order], centres.scores[order], centres.sizes[order])
    return Kept(tuple(names), F.normalize(centres.vectors[order].float(), dim=1), *columns)


def _largest_first(sizes: Tensor, side: Tensor) -> Tensor:
    places = side.nonzero()[:, 0]
    return places[sizes[places].argsort(descending=True, stable=True)]


def _alike(everything: Sequence[Kept], label: int) -> Callable[[int], tuple[Alike, ...]]:
    others = [each for index, each in enumerate(everything) if index != label]
    names = [name for each in others for name in each.names]
    vectors = torch.cat([each.vectors for each in others]) if names else everything[label].vectors[:0]
    cosines = everything[label].vectors @ vectors.T

    def of(index: int) -> tuple[Alike, ...]:
        best = cosines[index].topk(min(_ALIKE, len(names)))
        return tuple(Alike(names[int(place)], float(value)) for value, place in zip(*best, strict=True))

    return of


def _thinned(vectors: Tensor, most: int) -> Tensor:
    return vectors[_evenly(len(vectors), most)]


def _evenly(count: int, most: int) -> list[int]:
    """Return all places of a row, or of more than ``most`` as many, evenly.

    >>> _evenly(5, 3), _evenly(2, 3)
    ([0, 2, 4], [0, 1])
    """
    places: list[int] = np.linspace(0, max(0, count - 1), min(count, most)).round().astype(int).tolist()
    return places
