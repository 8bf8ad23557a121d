"""LPCAM's map stage as the published code runs it: one cosine map a prototype, in torch, then the means.

The features are seen position by position, the channels last, in the memory of [C, h, w]; every prototype is copied to
every position before its cosines are taken; the maps of a class's prototypes are kept and then averaged. How these
steps lie in memory is most of what they cost, so it is part of what is transcribed.

Faster than `tests.reference.lpcam` (the positions are vectorised) and slower than the folded form: the baseline of the
map-stage benchmark and of the benchmark of generate.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def prototype_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return mean_i cos(f, p_i): features [C, h, w], prototypes [P, C] → [h, w]."""
    positions = features.permute(1, 2, 0)
    everywhere = (prototype.expand_as(positions).contiguous() for prototype in prototypes)
    return torch.stack([F.cosine_similarity(positions, copies, dim=2) for copies in everywhere]).mean(dim=0)


def localise(features: Tensor, classes: Tensor, context: Tensor) -> Tensor:
    """Return ReLU(FG − BG): [h, w]."""
    difference = prototype_maps(features, classes)
    if len(context):
        difference = difference - prototype_maps(features, context)
    return difference.clamp_min(0)
