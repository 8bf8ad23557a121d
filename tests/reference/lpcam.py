"""LPCAM (Chen & Sun, CVPR 2023), Eq. 2 to 6, one prototype and one position at a time; no vectorisation on purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cosine(a: Array, b: Array) -> float:
    """Return a·b / (‖a‖ ‖b‖)."""
    return float(np.dot(a, b) / (math.sqrt(np.dot(a, a)) * math.sqrt(np.dot(b, b)) + 1e-12))


def split(features: Array, cam: Array, tau: float) -> tuple[list[Array], list[Array]]:
    """Split the local features of [C, h, w] by CAM [h, w] (Eq. 2, strict as in the published code)."""
    objects, rest = [], []
    for y in range(cam.shape[0]):
        for x in range(cam.shape[1]):
            if cam[y, x] > tau:
                objects.append(features[:, y, x])
            if cam[y, x] < tau:
                rest.append(features[:, y, x])
    return objects, rest


def score(centre: Array, weights: Array, label: int) -> float:
    """Return z = softmax_j(c · w_j)[n] (Eq. 3)."""
    logits = [float(np.dot(centre, weights[k])) for k in range(len(weights))]
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    return exponentials[label] / sum(exponentials)


def select(
    objects: Sequence[Array], rest: Sequence[Array], weights: Array, label: int, mu: tuple[float, float, float]
) -> tuple[list[int], list[int]]:
    """Return the indices of class prototypes and context prototypes (Eq. 4), mu = (class, context low, high)."""
    classes = [i for i, centre in enumerate(objects) if score(centre, weights, label) > mu[0]]
    context = [i for i, centre in enumerate(rest) if mu[1] < score(centre, weights, label) < mu[2]]
    return classes, context


def similarity(features: Array, prototypes: Sequence[Array]) -> Array:
    """Return the mean over prototypes of the cosine at every position of [C, h, w] (Eq. 5)."""
    total = np.zeros(features.shape[1:])
    for prototype in prototypes:
        for y in range(features.shape[1]):
            for x in range(features.shape[2]):
                total[y, x] += cosine(features[:, y, x], prototype)
    return total / len(prototypes)


def localise(features: Array, classes: Sequence[Array], context: Sequence[Array]) -> Array:
    """Return ReLU(FG − BG) at every position (Eq. 6 before the division by the maximum)."""
    difference = similarity(features, classes)
    if len(context):
        difference = difference - similarity(features, context)
    return np.maximum(difference, 0)
