"""LPCAM, local prototype CAM (Chen & Sun, CVPR 2023, arXiv 2303.10334), folded to one vector a class.

    FG_n = mean_i cos(f, F'_i)    BG_n = mean_j cos(f, B'_j)    LPCAM_n = ReLU(FG_n − BG_n) / max   (Eq. 5, 6)

F' are the class prototypes of class n and B' its context prototypes. With x̂ = x / ‖x‖ a cosine is a dot product,
so the means can be taken before the product:

    FG_n − BG_n = f̂ · v_n,    v_n = mean_i F̂'_i − mean_j B̂'_j

Sliding every prototype over the features is one matrix product with one vector a class.
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


def fold(
    class_prototypes: Tensor,
    context_prototypes: Tensor,
    class_sizes: Tensor | None = None,
    context_sizes: Tensor | None = None,
) -> Tensor:
    """Fold the prototypes of one class into the vector v_n.

    Args:
        class_prototypes: float [P, C], P ≥ 0.
        context_prototypes: float [P', C], P' ≥ 0. A class without context prototypes subtracts nothing.
        class_sizes: int or float [P], how much each counts; None for all the same, as in the paper.
        context_sizes: The same of the context prototypes, [P'].

    Returns:
        float [C]; zero for a class without any prototype.

    >>> fold(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.zeros(0, 2)).tolist()
    [0.5, 0.5]
    """
    return _mean_direction(class_prototypes, class_sizes) - _mean_direction(context_prototypes, context_sizes)


def prototype_activation(features: Tensor, folded: Tensor) -> Tensor:
    """Return ReLU(FG − BG) at every position, for all classes in one product.

    Args:
        features: float [N, C, h, w].
        folded: float [K, C], a row v_n for every class.

    Returns:
        float [N, K, h, w] in 0..1.

    Departs from the paper: the published code skips the ReLU for a class without context prototypes. Features
    after a ReLU have no negative cosine, so nothing changes for them; other backbones stay within 0..1.
    """
    # f̂ · v = (f · v) / ‖f‖: dividing the few maps is cheaper than dividing the C channels.
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min(1e-12)
    return F.linear(features.movedim(1, -1), folded).movedim(-1, 1).div_(norms).relu_()


@dataclass(frozen=True)
class Lpcam:
    """LPCAM as a method of the corridor.

    Attributes:
        folded: float32 [K, C], from `fold`, a row for every class of the data set.
    """

    folded: Tensor
    epsilon = 0.0
    reads_levels = False

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return the map of one scale for the image's own classes.

        As published, the features of image and un-mirrored mirror are added before the cosine.

        Args:
            seen: Features of the image at one scale and, where V is 2, of its mirror.
            labels: K class indices.

        Returns:
            float [K, h, w] in 0..1.
        """
        return prototype_activation(mirror_added(seen.last)[None], of_classes(self.folded, labels))[0]

    def activation(self, features: Tensor) -> Tensor:
        """Return the maps of all classes: float [C, h, w] → [K, h, w] in 0..1."""
        return prototype_activation(features[None], self.folded)[0]


def _mean_direction(prototypes: Tensor, sizes: Tensor | None) -> Tensor:
    if prototypes.shape[0] == 0:
        return prototypes.new_zeros(prototypes.shape[1])
    directions = F.normalize(prototypes, dim=1)
    if sizes is None:
        return directions.mean(dim=0)
    weights = sizes.to(directions.dtype)
    return weights @ directions / weights.sum()
