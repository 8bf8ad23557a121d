"""Fisher: regularised Fisher discriminants as a localisation method, one vector a class as LPCAM's folded form has.

    FISHER_n = ReLU(f̂ · v_n − b_n) / max        v_n ∝ (Σ + λ s I)^-1 (μ_n − ρ_n)

f̂ = f / ‖f‖, μ_n and ρ_n are the means of f̂ over the object positions of class n and over the rest of the photos that
carry it, Σ is the covariance of f̂ over all positions and s its mean variance (`lpcam.discriminants` makes them).
LPCAM's v_n is a difference of means too (of the directions of two sets of centres); here it is taken in the whitened
space, where directions in which features differ anyway count less: Fisher, "The use of multiple measurements in
taxonomic problems" (1936), with the ridge of Friedman, "Regularized discriminant analysis" (1989), and a covariance
that all classes share, as Hariharan, Malik & Ramanan, "Discriminative decorrelation for clustering and classification"
(ECCV 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.methods.cam import of_classes
from lpcam.records import ViewFeatures
from lpcam.views import mirror_added


def discriminant_activation(features: Tensor, vectors: Tensor, offsets: Tensor) -> Tensor:
    """Return ReLU(f̂ · v − b) at every position, for all classes in one product.

    Args:
        features: float [N, C, h, w]; where one is zero the map is zero.
        vectors: float [K, C], a row v_n for every class.
        offsets: float [K], b_n.

    Returns:
        float [N, K, h, w], ≥ 0.

    >>> features = torch.tensor([[[4.0, 0.0]], [[3.0, 2.0]]])[None]
    >>> discriminant_activation(features, torch.tensor([[1.25, 0.0]]), torch.tensor([0.5])).flatten().tolist()
    [0.5, 0.0]
    """
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    products = F.linear(features.movedim(1, -1), vectors).movedim(-1, 1).div_(norms.clamp_min(1e-12))
    return products.sub_(offsets[:, None, None]).relu_().mul_(norms > 0)


@dataclass(frozen=True)
class Fisher:
    """Fisher discriminants as a method of the corridor.

    Attributes:
        vectors: float32 [K, C], v_n of every class of the data set.
        offsets: float32 [K], b_n.
    """

    vectors: Tensor
    offsets: Tensor
    epsilon = 0.0
    reads_levels = False

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return the map of one scale for the image's own classes, from features of image and mirror added.

        Args:
            seen: Features of the image at one scale and, where V is 2, of its mirror.
            labels: K class indices.

        Returns:
            float [K, h, w], ≥ 0.
        """
        vectors, offsets = (of_classes(of_all, labels) for of_all in (self.vectors, self.offsets))
        return discriminant_activation(mirror_added(seen.last)[None], vectors, offsets)[0]

    def activation(self, features: Tensor) -> Tensor:
        """Return the maps of all classes: float [C, h, w] → [K, h, w], ≥ 0."""
        return discriminant_activation(features[None], self.vectors, self.offsets)[0]
