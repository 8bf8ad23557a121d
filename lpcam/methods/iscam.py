"""IS-CAM, the image-specific CAM of SIPE (Chen et al., CVPR 2022), with and without training.

Of one image, with general maps M_k in 0..1 (CAMs, normalised) and M_0 = 1 − max_k M_k for the background:

    S_ij = ReLU(cos(f_i, f_j))                                                       structure of the image
    C_k^i = Σ_j S_ij M_kj / (Σ_j S_ij + Σ_j M_kj − Σ_j S_ij M_kj)                    structure similarity, a soft IoU
    R = one-hot argmax_k (½ C_0, C_1, …, C_K)                                        structure-aware seeds
    P_k = mean of F over R_k        IS-CAM_k = ReLU(cos(F, P_k))

F are hierarchical features: all levels of the network side by side, see `hierarchy`. Everything is in the alphabet of
`lpcam.records`, with D channels of F and the background as class 0 where a shape says K+1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.methods.cam import of_classes
from lpcam.records import ViewFeatures
from lpcam.views import CAM_EPSILON, mirror_added

BACKGROUND_WEIGHT = 0.5
"""Of C_0, as published."""
LEVELS = 4
"""Of the hierarchical features, as published."""
BLOCK = 1024
"""Positions whose similarity to all others is in memory at once."""
_LEVEL_EPSILON = 1e-5


def hierarchy(levels: Sequence[Tensor], sides: Sequence[Tensor] = ()) -> Tensor:
    """Return the hierarchical features F: every level at length 1, on the grid of the last, side by side.

    Args:
        levels: float [N, C_l, h_l, w_l] each, the last is f(x).
        sides: A 1×1 convolution [D_l, C_l] for every level, as SIPE trains them; none leaves the levels as they are.

    Returns:
        float [N, D, h, w], D = Σ D_l, or Σ C_l without sides.

    Departs from the paper: the grid is that of the last level, not of the third; at the published stride 16 they are
    the same. Without training there are no sides.
    """
    grid = levels[-1].shape[-2:]
    if sides:
        levels = [F.conv2d(level, side[:, :, None, None]) for level, side in zip(levels, sides, strict=True)]
    return torch.cat([_on_grid(_unit_length(level), grid) for level in levels], dim=1)


def with_background(maps: Tensor) -> Tensor:
    """Put M_0 = 1 − max_k M_k before the maps: float [N, K, h, w] in 0..1 → [N, K+1, h, w].

    >>> with_background(torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)).flatten().tolist()
    [0.25, 0.25, 0.75]
    """
    return torch.cat([1 - maps.amax(dim=1, keepdim=True), maps], dim=1)


def structure_similarity(
    features: Tensor, maps: Tensor, *, background_weight: float = BACKGROUND_WEIGHT, block: int = BLOCK
) -> Tensor:
    """Return C_k at every position.

    The h·w × h·w similarities are made in stripes of ``block`` rows, of which the half left of the diagonal is known
    from the stripes before: memory is block · h·w values, and half of the products are saved.

    Args:
        features: float [N, C, h, w].
        maps: float [N, K+1, h, w] in 0..1, the background first.
        background_weight: Factor of C_0.
        block: Rows of a stripe, ≥ 1.

    Returns:
        float [N, K+1, h, w] in 0..1.
    """
    vectors = F.normalize(features.flatten(2), dim=1)
    rows = maps.flatten(2)
    overlap, mass = _overlaps(vectors, rows, block)
    union = mass[:, None] + rows.sum(dim=2, keepdim=True) - overlap
    similarity = overlap / union.clamp_min(torch.finfo(union.dtype).tiny)
    weighted = torch.cat([similarity[:, :1] * background_weight, similarity[:, 1:]], dim=1)
    return weighted.view_as(maps)


def seed_regions(similarity: Tensor, present: Tensor) -> Tensor:
    """Return R: every position belongs to the class of the largest C_k, unless that class is absent from the image.

    Args:
        similarity: float [N, K+1, h, w].
        present: bool [N, K], the image-level labels.

    Returns:
        0 and 1, [N, K+1, h, w]; at most one 1 a position, and no absent class has any.
    """
    seeds = F.one_hot(similarity.argmax(dim=1), similarity.shape[1]).movedim(-1, 1)
    with_background = F.pad(present, (1, 0), value=True)
    return (seeds * with_background[:, :, None, None]).to(similarity.dtype)


def image_prototypes(hierarchical: Tensor, seeds: Tensor) -> Tensor:
    """Return P_k, the mean of F over R_k: [N, D, h, w] and [N, K+1, h, w] → [N, K+1, D]; 0 for a class without seed.

    Departs from the paper: its code divides the sum by h·w instead of by the seed's size; no cosine sees it.
    """
    sums = torch.einsum("ndp,nkp->nkd", hierarchical.flatten(2), seeds.flatten(2))
    return sums / seeds.sum(dim=(2, 3)).clamp_min(1)[:, :, None]


def image_specific(hierarchical: Tensor, prototypes: Tensor) -> Tensor:
    """Return IS-CAM: [N, D, h, w] and [N, K+1, D] → [N, K+1, h, w] in 0..1; a class without prototype has none."""
    cosines = torch.einsum("nkd,ndhw->nkhw", F.normalize(prototypes, dim=2), F.normalize(hierarchical, dim=1))
    return cosines.clamp_min(0)


def training_maps(logits: Tensor, features: Tensor, hierarchical: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return what SIPE compares in training: the general maps M and the image-specific maps.

    As published, structure is that of f(x), the background's general map is seen against the maps of all classes,
    and those of classes absent from the image are then left out.

    Args:
        logits: float [N, K, h, w], w_k · f(x).
        features: float [N, C, h, w], f(x).
        hierarchical: float [N, D, h, w].
        targets: float [N, K], 0 and 1.

    Returns:
        float [N, K+1, h, w] each; IS-CAM is not normalised.
    """
    present = F.pad(targets, (1, 0), value=1.0)[:, :, None, None]
    general = with_background(general_maps(logits)) * present
    with torch.no_grad():
        seeds = seed_regions(structure_similarity(features, general), targets > 0)
    return general, image_specific(hierarchical, image_prototypes(hierarchical, seeds))


def consistency(general: Tensor, specific: Tensor) -> Tensor:
    """Return the loss of General-Specific Consistency: mean |M − IS-CAM / (max + 1e-5)| over all K+1 classes.

    Args:
        general: float [N, K+1, h, w].
        specific: float [N, K+1, h, w].
    """
    return (general - _peak_one(specific)).abs().mean()


def general_maps(logits: Tensor) -> Tensor:
    """Return M_k = ReLU(A_k) / (max ReLU(A_k) + 1e-5): float [N, K, h, w] → the same, in 0..1."""
    return _peak_one(logits.relu())


class General(Protocol):
    """Where IS-CAM's general maps come from: a method that knows the map of every class."""

    def activation(self, features: Tensor) -> Tensor:
        """Return the maps of all classes, float [K, h, w], of features [C, h, w] of image and mirror added."""


@dataclass(frozen=True)
class IsCam:
    """IS-CAM as a method of the corridor: without training, or with the sides of a trained SIPE.

    Attributes:
        general: Makes the maps that the seeds grow from: `lpcam.methods.cam.Cam` as published, or
            `lpcam.methods.lpcam.Lpcam`.
        sides: See `hierarchy`.
        background_weight: Factor of C_0.
        labels_only: Whether the maps of classes absent from the image are left out before the argmax. As published
            they are not, and positions that they win belong to no seed.
        levels: How many levels F is made of, the last ones; as published all four. The first levels of a small network
            know little more than colours.
        block: See `structure_similarity`.
    """

    general: General
    sides: tuple[Tensor, ...] = ()
    background_weight: float = BACKGROUND_WEIGHT
    labels_only: bool = False
    levels: int = LEVELS
    block: int = BLOCK
    epsilon = CAM_EPSILON
    reads_levels = True

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return the map of one scale for the image's own classes.

        As published, features of image and un-mirrored mirror are added, both for the general maps and for F.

        Args:
            seen: Features and levels of the image at one scale and, where V is 2, of its mirror.
            labels: K class indices.

        Returns:
            float [K, h, w] in 0..1.
        """
        if not labels:
            return seen.last.new_zeros(0, *seen.last.shape[2:])
        hierarchical = mirror_added(hierarchy(seen.levels[-self.levels :], self.sides[-self.levels :]))[None]
        general = _peak_one(self.general.activation(mirror_added(seen.last)))[None]
        present = torch.zeros(general.shape[:2], dtype=torch.bool, device=general.device)
        for label in labels:  # one by one, see `of_classes`
            present[0, label].fill_(True)
        if self.labels_only:
            general = general * present[:, :, None, None]
        similarity = structure_similarity(
            hierarchical, with_background(general), background_weight=self.background_weight, block=self.block
        )
        prototypes = image_prototypes(hierarchical, seed_regions(similarity, present))
        return image_specific(hierarchical, of_classes(prototypes[0, 1:], labels)[None])[0]


def _peak_one(maps: Tensor) -> Tensor:
    return maps / (maps.amax(dim=(-2, -1), keepdim=True) + CAM_EPSILON)


def _unit_length(level: Tensor) -> Tensor:
    return level.div(torch.linalg.vector_norm(level, dim=1, keepdim=True) + _LEVEL_EPSILON)


def _on_grid(level: Tensor, grid: torch.Size) -> Tensor:
    if level.shape[-2:] == grid:
        return level
    return F.interpolate(level, grid, mode="bilinear", align_corners=False)


def _overlaps(vectors: Tensor, rows: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return Σ_j S_ij M_kj, [N, K+1, M], and Σ_j S_ij, [N, M], of vectors [N, C, M] and maps [N, K+1, M]."""
    weighed = F.pad(rows, (0, 0, 0, 1), value=1.0)  # a map of ones adds up S itself
    overlap = torch.zeros_like(weighed)
    for first in range(0, vectors.shape[2], block):
        last = min(first + block, vectors.shape[2])
        stripe = (vectors[:, :, first:last].mT @ vectors[:, :, first:]).clamp_min_(0)  # S of these rows, [N, block, …]
        overlap[:, :, first:last] += weighed[:, :, first:] @ stripe.mT
        overlap[:, :, last:] += weighed[:, :, first:last] @ stripe[:, :, last - first :]
    return overlap[:, :-1], overlap[:, -1]
