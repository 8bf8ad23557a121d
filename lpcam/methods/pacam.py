"""PACAM, the prototype-aware CAM of CPAL (Tang et al., CVPR 2024, arXiv 2403.07630), with and without training.

Of one image and one of its classes k, with features f, the CAM M_k in 0..1 and context prototypes c_i of the class,
which are centres of the instance prototypes of all images (`lpcam.support`):

    p = mean of f over {M_k > τ}                                       instance prototype
    w = softmax over the top-K of s(p, c_i), 0 elsewhere               positiveness
    δ = Σ_i w_i c_i − p        f' = f + M_k · δ                        feature distribution alignment
    PACAM_k = ReLU(Σ_i w_i cos(f', c_i))

The cosines need no loop over prototypes: Σ_i w_i cos(f', c_i) = f̂' · v with v = Σ_i w_i ĉ_i, and f' · v and ‖f'‖ follow
from the products of f with v and δ, so that f' itself is never made.

The paper's code was not published. What the sources agree on: instance prototypes under the CAM, a bank of them that
k-means makes into context prototypes, a dot product and a softmax over the top-K neighbours, a shift δ towards the
dense context cluster, the weighted mean of cosine maps. Departs from the paper, or where it is silent is chosen here:

- p is the mean over the positions of the seed, those above τ = 0.3, the threshold of LPCAM's published seeds; where
  none is above it, the feature at the maximum of M_k.
- a dot product of raw features is in the hundreds, where a softmax knows one neighbour only; it is divided by √C, as
  attention does.
- δ closes the whole gap between instance and neighbours, and moves a feature as far as M_k says it is the instance's.
- features of image and mirror are averaged first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.methods.cam import class_activation, of_classes
from lpcam.records import ViewFeatures
from lpcam.views import CAM_EPSILON, mirror_added, normalise

METRICS = ("dot", "cosine", "euclidean", "learned")
"""The first is the default."""
_TEMPERATURE = 0.1  # of cosines
_CANCELLED = 1e-6  # of a squared length that is the difference of others


@dataclass(frozen=True)
class Awareness:
    """How context prototypes are weighed.

    Attributes:
        metric: s(p, c): ``dot``, p · c / √C, as published; ``euclidean``, −‖p − c‖² / (2 √C), the same for prototypes
            of one length; ``cosine``, cos(p, c) / 0.1; ``learned``, Wp · Wc / √d with a matrix W [d, C] that CPAL's
            training made.
        top: Neighbours that get a weight, the top-K.
        tau: τ.
        bank: False leaves the context out: the only prototype is p. An ablation, as the next two.
        alignment: False sets δ = 0.
        positiveness: False gives all context prototypes the same weight.

    Raises:
        ValueError: the metric is unknown or a number out of range.
    """

    metric: str = "dot"
    top: int = 20
    tau: float = 0.3
    bank: bool = True
    alignment: bool = True
    positiveness: bool = True

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"expected a metric of {', '.join(METRICS)}, got {self.metric!r}")
        if self.top < 1 or not 0 <= self.tau < 1:
            raise ValueError(f"expected top >= 1 and 0 <= tau < 1, got {self.top} and {self.tau}")


def instance_prototypes(features: Tensor, maps: Tensor, tau: float) -> Tensor:
    """Return the mean feature of every class under its map.

    Args:
        features: float [C, h, w].
        maps: float [K, h, w] in 0..1.
        tau: Positions with M_k > τ count; where there is none, the maximum of M_k does.

    Returns:
        float [K, C]; zero for a map that is zero everywhere.

    >>> features = torch.tensor([[[1.0, 3.0, 9.0]]])
    >>> instance_prototypes(features, torch.tensor([[[0.2, 1.0, 0.0]], [[0.0, 0.0, 0.05]]]), 0.1).flatten().tolist()
    [2.0, 9.0]
    """
    inside = maps > torch.minimum(maps.new_full((), tau), maps.amax(dim=(1, 2), keepdim=True) * (1 - 1e-6))
    weights = inside.flatten(1).to(features.dtype)
    return weights @ features.flatten(1).T / weights.sum(dim=1, keepdim=True).clamp_min(1)


def positiveness(instance: Tensor, context: Tensor, awareness: Awareness, projection: Tensor | None = None) -> Tensor:
    """Return how much every context prototype counts for an instance.

    Args:
        instance: float [C], p.
        context: float [P, C], c_i, P ≥ 1.
        awareness: Metric and top-K.
        projection: float [d, C], W of the learned metric.

    Returns:
        float [P] ≥ 0 that sum to 1.

    Raises:
        ValueError: the learned metric has no matrix.

    >>> context = torch.tensor([[4.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]])
    >>> positiveness(torch.tensor([1.0, 1.0, 0.0, 0.0]), context, Awareness(top=2)).tolist()
    [0.5, 0.5, 0.0]
    """
    if not awareness.positiveness:
        return context.new_full((len(context),), 1 / len(context))
    if awareness.metric == "learned" and projection is None:
        raise ValueError("expected a projection for the learned metric, got None")
    scores = _SCORES[awareness.metric](instance, context, projection)
    nearest = scores.topk(min(awareness.top, len(scores)))
    return torch.zeros_like(scores).index_put((nearest.indices,), nearest.values.softmax(dim=0))


def prototype_aware(
    features: Tensor,
    maps: Tensor,
    context: Sequence[Tensor],
    awareness: Awareness,
    projection: Tensor | None = None,
) -> Tensor:
    """Return PACAM of some classes of an image.

    Args:
        features: float [C, h, w].
        maps: float [K, h, w] in 0..1, the normalised CAMs.
        context: K × [P_k, C]; where P_k is 0, the instance prototype stands for its class.
        awareness: How the context is weighed.
        projection: See `positiveness`.

    Returns:
        float [K, h, w] in 0..1, not normalised.
    """
    instances = instance_prototypes(features, maps, awareness.tau)
    pairs = [_weighed(p, c, awareness, projection) for p, c in zip(instances, context, strict=True)]
    if not pairs:
        return torch.zeros_like(maps)
    direction, shift = (torch.stack(rows) for rows in zip(*pairs, strict=True))
    return _aligned_cosine(features, maps, direction, shift).clamp(0, 1)


@dataclass(frozen=True)
class Pacam:
    """PACAM as a method of the corridor.

    Attributes:
        weights: float32 [K, C], the classifier's class weights.
        context: The context prototypes [P_k, C] of every class of the data set.
        awareness: How they are weighed.
        projection: float32 [d, C], W of the learned metric, if it is used.
    """

    weights: Tensor
    context: tuple[Tensor, ...]
    awareness: Awareness = Awareness()
    projection: Tensor | None = None
    epsilon = CAM_EPSILON
    reads_levels = False

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return the map of one scale for the image's own classes.

        Args:
            seen: Features of the image at one scale and, where V is 2, of its mirror.
            labels: K class indices.

        Returns:
            float [K, h, w] in 0..1.
        """
        features = mirror_added(seen.last) / len(seen.last)
        maps = normalise(mirror_added(class_activation(seen.last, of_classes(self.weights, labels))), CAM_EPSILON)
        context = [self.context[label] for label in labels]
        return prototype_aware(features, maps, context, self.awareness, self.projection)


def _dot(instance: Tensor, context: Tensor, _projection: Tensor | None) -> Tensor:
    return context @ instance / math.sqrt(len(instance))


def _euclidean(instance: Tensor, context: Tensor, _projection: Tensor | None) -> Tensor:
    return -(context - instance).square().sum(dim=1) / (2 * math.sqrt(len(instance)))


def _cosine(instance: Tensor, context: Tensor, _projection: Tensor | None) -> Tensor:
    return F.cosine_similarity(context, instance[None]) / _TEMPERATURE


def _learned(instance: Tensor, context: Tensor, projection: Tensor | None) -> Tensor:
    matrix = projection if projection is not None else context.new_zeros(0, context.shape[1])
    return _dot(matrix @ instance, context @ matrix.T, None)


_SCORES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "dot": _dot,
    "cosine": _cosine,
    "euclidean": _euclidean,
    "learned": _learned,
}
"""s(p, c_i): float [C], [P, C] and W → [P]."""


def _weighed(
    instance: Tensor, context: Tensor, awareness: Awareness, projection: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return v and δ of one class: float [C] each."""
    if not awareness.bank or len(context) == 0:
        context = instance[None]
    weights = positiveness(instance, context, awareness, projection)
    shift = weights @ context - instance if awareness.alignment else torch.zeros_like(instance)
    return weights @ F.normalize(context, dim=1), shift


def _aligned_cosine(features: Tensor, maps: Tensor, direction: Tensor, shift: Tensor) -> Tensor:
    """Return f̂' · v for f' = f + M · δ: features [C, h, w], maps [K, h, w], v and δ [K, C] → [K, h, w]."""
    along, towards = torch.einsum("rc,chw->rhw", torch.cat([direction, shift]), features).chunk(2)
    gain, length = ((shift * other).sum(dim=1)[:, None, None] for other in (direction, shift))
    parts = features.square().sum(dim=0) + maps.square() * length
    square = parts + 2 * maps * towards
    # Where f and M · δ cancel, what is left of ‖f'‖ is rounding, and f' has no direction.
    return (along + maps * gain) / torch.maximum(square, _CANCELLED * parts).clamp_min(1e-24).sqrt()
