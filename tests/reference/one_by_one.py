"""LPCAM's map stage as the published code runs it: one cosine map a prototype, in torch, then the means.

Faster than `tests.reference.lpcam` (the positions are vectorised) and slower than the folded form: the baseline of the
map-stage benchmark.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def prototype_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return mean_i cos(f, p_i): features [C, h, w], prototypes [P, C] → [h, w]."""
    total = features.new_zeros(features.shape[1:])
    for prototype in prototypes:
        total += F.cosine_similarity(features, prototype[:, None, None], dim=0)
    return total / len(prototypes)


def localise(features: Tensor, classes: Tensor, context: Tensor) -> Tensor:
    """Return ReLU(FG − BG): [h, w]."""
    difference = prototype_maps(features, classes)
    if len(context):
        difference = difference - prototype_maps(features, context)
    return difference.clamp_min(0)
