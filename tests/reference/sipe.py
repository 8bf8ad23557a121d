"""SIPE (Chen et al., CVPR 2022), one position and one class at a time; no vectorisation on purpose.

Channel 0 is the background: an index k of K + 1 is the class k − 1. Features are [C, h, w], maps [K + 1, h, w].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tests.reference.cam import bilinear

Array = NDArray[np.float64]
EPSILON = 1e-5


def places(array: Array) -> list[tuple[int, int]]:
    """Return every (y, x) of the last two axes."""
    return list(product(range(array.shape[-2]), range(array.shape[-1])))


def cosine(a: Array, b: Array) -> float:
    """Return a·b / (‖a‖ ‖b‖); 0 where either is zero."""
    norms = math.sqrt(float(np.dot(a, a))) * math.sqrt(float(np.dot(b, b)))
    return float(np.dot(a, b)) / norms if norms > 0 else 0.0


def hierarchy(levels: Sequence[Array], sides: Sequence[Array] = ()) -> Array:
    """Return F_h [D, h, w]: every level through its side [D_l, C_l], normalised, resized to the last, concatenated."""
    parts = []
    for index, level in enumerate(levels):
        narrowed = np.zeros((len(sides[index]) if len(sides) else len(level), *level.shape[1:]))
        for y, x in places(level):
            vector = sides[index] @ level[:, y, x] if len(sides) else level[:, y, x]
            narrowed[:, y, x] = vector / (math.sqrt(float(np.dot(vector, vector))) + EPSILON)
        parts += [bilinear(channel, (levels[-1].shape[1], levels[-1].shape[2])) for channel in narrowed]
    return np.stack(parts)


def normalised(logits: Array) -> Array:
    """Return ReLU(A_k) / (max ReLU(A_k) + 1e-5) of logits [K, h, w] (METHOD.md §3, 1)."""
    maps = np.zeros_like(logits)
    for k in range(len(logits)):
        highest = max(max(0.0, float(logits[k, y, x])) for y, x in places(logits))
        for y, x in places(logits):
            maps[k, y, x] = max(0.0, float(logits[k, y, x])) / (highest + EPSILON)
    return maps


def with_background(maps: Array) -> Array:
    """Return M: M_0 = 1 − max_k M_k before the maps [K, h, w] of the classes."""
    background = np.zeros((1, *maps.shape[1:]))
    for y, x in places(maps):
        background[0, y, x] = 1 - max(float(value) for value in maps[:, y, x])
    return np.concatenate([background, maps])


def structure_similarity(features: Array, maps: Array, background_weight: float = 0.5) -> Array:
    """Return C_k^i, the soft IoU of the structure map of position i and the map of class k (METHOD.md §3, 2)."""
    result = np.zeros_like(maps)
    for y, x in places(features):
        structure = [max(0.0, cosine(features[:, y, x], features[:, v, u])) for v, u in places(features)]
        for k in range(len(maps)):
            both, either = 0.0, 0.0
            for (v, u), similar in zip(places(features), structure, strict=True):
                both += similar * float(maps[k, v, u])
                either += similar + float(maps[k, v, u]) - similar * float(maps[k, v, u])
            result[k, y, x] = both / either if either > 0 else 0.0
        result[0, y, x] *= background_weight
    return result


def softmax(similarity: Array) -> Array:
    """Return the softmax over the K + 1 classes at every position."""
    result = np.zeros_like(similarity)
    for y, x in places(similarity):
        exponentials = [math.exp(float(value)) for value in similarity[:, y, x]]
        result[:, y, x] = [value / sum(exponentials) for value in exponentials]
    return result


def seed_regions(similarity: Array, labels: Sequence[int]) -> Array:
    """Return R, 0 or 1: the first class of highest C among all K + 1, unless the image does not have it (3)."""
    seeds = np.zeros_like(similarity)
    for y, x in places(similarity):
        highest = max(range(len(similarity)), key=lambda k: similarity[k, y, x])
        if highest == 0 or highest - 1 in labels:
            seeds[highest, y, x] = 1
    return seeds


def prototypes(hierarchical: Array, seeds: Array) -> Array:
    """Return P_k [K + 1, D], the mean of F_h over R_k; zero without a seed (4)."""
    result = np.zeros((len(seeds), len(hierarchical)))
    for k in range(len(seeds)):
        members = [hierarchical[:, y, x] for y, x in places(seeds) if seeds[k, y, x] == 1]
        if members:
            result[k] = sum(members) / len(members)
    return result


def published_prototypes(hierarchical: Array, seeds: Array) -> Array:
    """Return the sums over R_k divided by h·w, as the published code: the same directions as the means."""
    result = prototypes(hierarchical, seeds)
    for k in range(len(seeds)):
        result[k] *= seeds[k].sum() / seeds[k].size
    return result


def image_specific(hierarchical: Array, vectors: Array) -> Array:
    """Return IS-CAM_k = ReLU(cos(F_h, P_k)) (4)."""
    result = np.zeros((len(vectors), *hierarchical.shape[1:]))
    for k in range(len(vectors)):
        for y, x in places(hierarchical):
            result[k, y, x] = max(0.0, cosine(hierarchical[:, y, x], vectors[k]))
    return result


def infer(logits: Array, hierarchical: Array, labels: Sequence[int]) -> dict[str, Array]:
    """Return what inference makes of an image and its mirror: logits [2, K, h, w], F_h [2, D, h, w]."""
    both = hierarchical[0] + hierarchical[1][:, :, ::-1]
    maps = with_background(normalised(logits[0] + logits[1][:, :, ::-1]))
    similarity = structure_similarity(both, maps)
    seeds = seed_regions(similarity, labels)
    return {
        "cam": maps,
        "similarity_softmax": softmax(similarity),
        "seeds": seeds,
        "prototypes": published_prototypes(both, seeds),
        "iscam": image_specific(both, prototypes(both, seeds)),
    }


def train(logits: Array, features: Array, hierarchical: Array, labels: Sequence[int]) -> dict[str, Array]:
    """Return what training makes of one image: the background is taken before the maps of absent classes are."""
    maps = with_background(normalised(logits))
    for k in range(len(logits)):
        if k not in labels:
            maps[1 + k] = 0
    seeds = seed_regions(structure_similarity(features, maps), labels)
    return {
        "cam": maps,
        "seeds": seeds,
        "prototypes": published_prototypes(hierarchical, seeds),
        "iscam": image_specific(hierarchical, prototypes(hierarchical, seeds)),
    }


def consistency(general: Sequence[Array], specific: Sequence[Array]) -> float:
    """Return the mean over images, K + 1 channels and positions of |M − IS-CAM / (max + 1e-5)| (5)."""
    differences = []
    for maps, special in zip(general, specific, strict=True):
        for k in range(len(maps)):
            highest = max(float(special[k, y, x]) for y, x in places(special))
            for y, x in places(maps):
                differences.append(abs(float(maps[k, y, x]) - float(special[k, y, x]) / (highest + EPSILON)))
    return sum(differences) / len(differences)
