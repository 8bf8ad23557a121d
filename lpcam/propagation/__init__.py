"""Propagation: activation maps of any method, spread over what belongs together and settled on edges; no training.

Two steps, each of which can be left out. The walk (`lpcam.propagation.walk`) carries the maps over positions that look
alike to a middle layer of the classifier. The edges (`lpcam.propagation.pamr`, or the dense CRF of `lpcam.crf`) bring
them to the contours of the photo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam import crf
from lpcam.backbones.levels import MOST
from lpcam.errors import LpcamError, unknown
from lpcam.propagation.pamr import pamr
from lpcam.propagation.walk import calibrated_power, directions, random_walk
from lpcam.records import ActivationMaps
from lpcam.views import merge_scales, normalise, strided_size, sum_resized

EDGES = ("pamr", "crf")
_MOST_RESTART = 0.5
_EVEN = 1e-4
"""A map whose values differ by less than this share of its maximum says nothing."""


@dataclass(frozen=True)
class Walk:
    """How maps walk, see `lpcam.propagation.walk`.

    Nothing here is chosen with masks, image by image: the power follows the image's affinities, and the length of the
    walk follows the number of classes in it, since a crowded scene has small things that a long walk would wash out.

    Attributes:
        neighbours: Share of the positions that one belongs together with on average; it chooses the power.
        power: p, the same for all images, in place of that; None for the choice by ``neighbours``.
        restart: Share of its start that a position keeps at every step where the image holds one class; r is
            ``restart`` · K² for K classes, .5 at most.
        steps: t. With restarts the result hardly changes after some 1/r steps.
        floor: Whether the least value of a map, which a long walk leaves everywhere, is taken off it.
        levels: How many levels of the network say what belongs together: the last but one, which is the last stage at
            stride 16 of a network that halves its grid five times, and finer ones, each counting half of the one
            before. A network of one level has that one.
        positions: Most positions that maps walk on; the grid of a larger photo is averaged onto a coarser one. The
            affinities of all of them, 4 · ``positions``² bytes, are in memory once: 64 MiB, and a photo of a megapixel
            still walks on its own grid at stride 16.

    Raises:
        LpcamError: a value is out of range.
    """

    neighbours: float = 0.04
    power: float | None = None
    restart: float = 0.05
    steps: int = 30
    floor: bool = True
    levels: int = 2
    positions: int = 4096

    def __post_init__(self) -> None:
        """Refuse what cannot be walked."""
        for name, good, choice in (
            ("neighbours", 0 < self.neighbours < 1, "a share between 0 and 1"),
            ("power", self.power is None or 0 < self.power <= 256, "a value above 0, 256 at most"),
            ("restart", 0 <= self.restart <= 1, "a value in 0..1"),
            ("steps", self.steps >= 0, "0 or more"),
            ("levels", 1 <= self.levels <= MOST - 1, f"1 to {MOST - 1}"),
            ("positions", self.positions >= 1, "1 or more"),
        ):
            if not good:
                raise LpcamError(f"propagate-{name} is {getattr(self, name)}: choose {choice}")

    def ground(self, levels: Sequence[Tensor]) -> Ground:
        """Return what of an image's levels, float [C_l, h_l, w_l], finest first, maps walk on."""
        chosen = levels[:-1][-self.levels :] or levels
        height, width = chosen[-1].shape[1:]
        grid = _at_most(self.positions, (height, width))
        vectors = directions(chosen[::-1], grid)
        return Ground(grid, vectors, self.power or calibrated_power(vectors, self.neighbours))

    def carry(self, maps: Tensor, ground: Ground) -> Tensor:
        """Return maps [K, h, w] on the ground's grid after the walk, with a peak of 1."""
        rate = self.rate(len(maps))
        walked = random_walk(ground.vectors, maps, power=ground.power, restart=rate, steps=self.steps)
        return normalise(without_floor(walked) if self.floor else walked)

    def rate(self, classes: int) -> float:
        """Return r for an image of K classes."""
        return min(self.restart * classes**2, max(_MOST_RESTART, self.restart))


@dataclass(frozen=True)
class Ground:
    """What maps of an image walk on.

    Attributes:
        grid: (h, w).
        vectors: float [h·w, C] of length 1.
        power: p.
    """

    grid: tuple[int, int]
    vectors: Tensor
    power: float | Tensor


@dataclass(frozen=True)
class Scene:
    """What of a photo guides its maps.

    Attributes:
        ground: Of the walk; None without one.
        pixels: float [3, H, W] in 0..1, of any size; None where edges do not matter.
    """

    ground: Ground | None = None
    pixels: Tensor | None = None


@dataclass(frozen=True)
class Propagation:
    """What is done with the maps of a photo before they are written.

    Attributes:
        walk: None for none.
        edges: One of `EDGES`; None for none.

    Raises:
        LpcamError: the edges are unknown, or their package is missing.
    """

    walk: Walk | None = None
    edges: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.edges is not None and self.edges not in EDGES:
            raise unknown("edges", self.edges, EDGES)
        if self.edges == "crf":
            crf.require_crf()

    def __bool__(self) -> bool:
        """Whether anything is done."""
        return self.walk is not None or self.edges is not None

    def as_json(self) -> dict[str, Any]:
        """Return what changes the maps, JSON values only; empty for nothing."""
        walk = asdict(self.walk) if self.walk else None
        return {name: value for name, value in (("walk", walk), ("edges", self.edges)) if value is not None}

    def scene(self, levels: Sequence[Tensor], pixels: Tensor) -> Scene:
        """Return what of a photo guides its maps.

        Args:
            levels: float [C_l, h_l, w_l], of image and un-mirrored mirror added, finest first; used by a walk.
            pixels: float [3, H, W] in 0..1, of any size; used by edges.
        """
        return Scene(self.walk.ground(levels) if self.walk else None, pixels if self.edges else None)

    def merge(
        self, maps: Sequence[Tensor], labels: tuple[int, ...], size: tuple[int, int], epsilon: float, scene: Scene
    ) -> ActivationMaps:
        """Merge the maps of all scales, as `lpcam.views.merge_scales` does, and propagate them.

        Args:
            maps: One float32 [K, h_s, w_s] a scale.
            labels: The K class indices.
            size: (H, W) of the photo.
            epsilon: Added to the maximum before a map is divided by it.
            scene: What guides the maps, from `scene`.
        """
        if self.walk is not None and scene.ground is not None:
            maps = [self.walk.carry(sum_resized(maps, scene.ground.grid), scene.ground)]
        merged = merge_scales(maps, labels, size, epsilon)
        if self.edges is None or scene.pixels is None or not labels:
            return merged
        return _SETTLE[self.edges](merged, scene.pixels)


def without_floor(maps: Tensor) -> Tensor:
    """Take its least value off every map [K, h, w]; one that is even stays as it is."""
    if len(maps) == 0:
        return maps
    least, most = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(most - least > _EVEN * most, maps - least, maps)


def _at_most(positions: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Return a grid of the same shape with that many positions at most.

    >>> _at_most(4096, (24, 32)), _at_most(4096, (94, 125)), _at_most(2, (1, 7))
    ((24, 32), (55, 73), (1, 2))
    """
    shrunk = min(1.0, math.sqrt(positions / (grid[0] * grid[1])))
    height = max(1, min(math.floor(grid[0] * shrunk), positions))
    return height, max(1, min(math.floor(grid[1] * shrunk), positions // height))


def _by_pamr(maps: ActivationMaps, pixels: Tensor) -> ActivationMaps:
    """Settle the maps at every fourth pixel, and resize."""
    size = (maps.high_res.shape[1], maps.high_res.shape[2])
    coarse = _area(maps.high_res, strided_size(size))
    settled = pamr(_area(pixels, strided_size(size)), coarse)
    full = F.interpolate(settled[None], size, mode="bilinear", align_corners=False)[0]
    return ActivationMaps(maps.labels, normalise(settled), normalise(full))


def _by_crf(maps: ActivationMaps, pixels: Tensor) -> ActivationMaps:
    """Settle the maps, and 1 − max as the background's, at every pixel: the posterior of the dense CRF."""
    high_res = maps.high_res
    scores = torch.cat([1 - high_res.amax(dim=0, keepdim=True), high_res]).cpu().numpy()
    photo = _area(pixels, tuple(high_res.shape[1:])).mul(255).round().byte().movedim(0, -1).cpu().numpy()
    posterior = torch.from_numpy(crf.crf_of_scores(photo, scores, crf.IRN))[1:].to(high_res)
    return ActivationMaps(maps.labels, normalise(posterior[:, ::4, ::4]), normalise(posterior))


def _area(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(maps[None], size, mode="area")[0]


_SETTLE = {"pamr": _by_pamr, "crf": _by_crf}
