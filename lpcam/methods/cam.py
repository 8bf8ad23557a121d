"""CAM, the class activation map (Zhou et al., CVPR 2016) in IRN's multi-view form.

A_k = w_k · f(x)        CAM_k = ReLU(A_k) / (max ReLU(A_k) + 1e-5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.records import ViewFeatures
from lpcam.views import CAM_EPSILON, mirror_added


def class_activation(features: Tensor, weights: Tensor) -> Tensor:
    """Return ReLU(w_k · f) at every position.

    Args:
        features: float [N, C, h, w].
        weights: float [K, C].

    Returns:
        float [N, K, h, w], ≥ 0.

    >>> import torch
    >>> features = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    >>> class_activation(features, torch.tensor([[1.0, 1.0], [1.0, -1.0]])).flatten().tolist()
    [3.0, 0.0]
    """
    return F.linear(features.movedim(1, -1), weights).movedim(-1, 1).relu_()


def of_classes(matrix: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the rows of some classes: [K, …] → [len(labels), …].

    Row by row: a list of indices would be copied to a device first, and the host would wait for all that is under way.

    >>> of_classes(torch.eye(3), (2, 0)).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return torch.stack([matrix[label] for label in labels]) if labels else matrix[:0]


@dataclass(frozen=True)
class Cam:
    """CAM as a method of the corridor.

    Attributes:
        weights: float32 [K, C], the classifier's class weights.
    """

    weights: Tensor
    epsilon = CAM_EPSILON
    reads_levels = False

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return ReLU(A) of image and un-mirrored mirror, added, for the image's own classes.

        Args:
            seen: Features of the image at one scale and, where V is 2, of its mirror.
            labels: K class indices.

        Returns:
            float [K, h, w].
        """
        return mirror_added(class_activation(seen.last, of_classes(self.weights, labels)))

    def activation(self, features: Tensor) -> Tensor:
        """Return ReLU(A) of all classes: float [C, h, w] → [K, h, w]."""
        return class_activation(features[None], self.weights)[0]
