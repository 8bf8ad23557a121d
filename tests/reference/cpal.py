"""CPAL (Tang et al., CVPR 2024), one context prototype and one position at a time; no vectorisation on purpose.

What the sources leave open (τ, the scaling of the metrics, the ablations) is as `lpcam.methods.pacam` chooses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.reference.sipe import cosine, places

Array = NDArray[np.float64]


def instance_prototype(features: Array, activation: Array, tau: float) -> Array:
    """Return p [C], the mean of f [C, h, w] where M_k [h, w] is above τ, at the maximum, or 0 for a map of zeros."""
    inside = [features[:, y, x] for y, x in places(activation) if activation[y, x] > tau]
    if inside:
        return np.array(sum(inside) / len(inside))
    y, x = max(places(activation), key=lambda place: activation[place])
    return features[:, y, x].copy() if activation[y, x] > 0 else np.zeros(len(features))


def score(instance: Array, centre: Array, metric: str, projection: Array | None = None) -> float:
    """Return s_i of one context prototype."""
    channels = len(instance)
    if metric == "dot":
        return sum(float(a) * float(b) for a, b in zip(instance, centre, strict=True)) / math.sqrt(channels)
    if metric == "euclidean":
        squares = sum((float(a) - float(b)) ** 2 for a, b in zip(instance, centre, strict=True))
        return -squares / (2 * math.sqrt(channels))
    if metric == "cosine":
        return cosine(instance, centre) / 0.1
    assert projection is not None
    a = [float(np.dot(row, instance)) for row in projection]
    b = [float(np.dot(row, centre)) for row in projection]
    return sum(one * other for one, other in zip(a, b, strict=True)) / math.sqrt(len(projection))


def positiveness(
    instance: Array, context: Sequence[Array], metric: str, top: int, projection: Array | None = None
) -> list[float]:
    """Return w_i: the softmax over the ``top`` largest scores, 0 for the others."""
    scores = [score(instance, centre, metric, projection) for centre in context]
    nearest = sorted(range(len(scores)), key=lambda i: scores[i], reverse=True)[:top]
    highest = max(scores)
    total = sum(math.exp(scores[i] - highest) for i in nearest)
    return [math.exp(scores[i] - highest) / total if i in nearest else 0.0 for i in range(len(scores))]


def shift(instance: Array, context: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return δ = Σ w_i c_i − p."""
    delta = -instance
    for weight, centre in zip(weights, context, strict=True):
        delta = delta + weight * centre
    return delta


def pacam(
    features: Array,
    activation: Array,
    context: Sequence[Array],
    *,
    metric: str = "dot",
    top: int = 20,
    tau: float = 0.3,
    bank: bool = True,
    alignment: bool = True,
    weighed: bool = True,
    projection: Array | None = None,
) -> Array:
    """Return PACAM_k(x) = ReLU(Σ_i w_i cos(f'(x), c_i)) with f'(x) = f(x) + M_k(x)·δ: [h, w]."""
    instance = instance_prototype(features, activation, tau)
    centres = list(context) if bank else [instance]
    weights = positiveness(instance, centres, metric, top, projection) if weighed else [1 / len(centres)] * len(centres)
    delta = shift(instance, centres, weights) if alignment else np.zeros(len(instance))
    result = np.zeros(activation.shape)
    for y, x in places(activation):
        moved = features[:, y, x] + activation[y, x] * delta
        total = sum(weight * cosine(moved, centre) for weight, centre in zip(weights, centres, strict=True))
        result[y, x] = max(0.0, total)
    return result


def consistency(general: Sequence[Array], aware: Sequence[Array]) -> float:
    """Return the mean over an image's own classes and positions of |M_k − PACAM_k / (max + 1e-5)|."""
    differences = []
    for activation, target in zip(general, aware, strict=True):
        highest = max(float(target[place]) for place in places(target))
        differences += [abs(float(activation[p]) - float(target[p]) / (highest + 1e-5)) for p in places(activation)]
    return sum(differences) / len(differences)
