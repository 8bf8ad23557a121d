"""Attention of a transformer put on the maps of any method, as MCTformer does it to its PatchCAM.

    fused_n = map_n ∘ a_n           a_n: attention the token of class n pays to every patch
    refined_n = P vec(fused_n)      P: attention every patch pays to every other, the patch affinity

Both are averaged over heads and summed over layers.

Departs from the paper: image and mirror are seen together, so that their attentions are added, as LPCAM adds their
features; MCTformer makes a map of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lpcam.methods.cam import of_classes
from lpcam.records import Attention

GUIDES = ("fuse", "refine")
"""How attention may be put on maps."""


def guide(maps: Tensor, attention: Attention, labels: Sequence[int], how: str) -> Tensor:
    """Return the maps of one scale with attention put on them.

    Args:
        maps: float [K, h, w], image and mirror already merged.
        attention: In the image and in its mirror, N = 2, for all classes.
        labels: The classes of the maps.
        how: ``fuse``, or ``refine`` for that and the patch affinity.

    Returns:
        float [K, h, w].
    """
    image, mirror = (of_classes(of_view, labels) for of_view in attention.to_patches)
    fused = maps * (image + mirror.flip(-1))
    return _spread(fused, attention.among_patches) if how == "refine" else fused


def _spread(maps: Tensor, affinity: Tensor) -> Tensor:
    image, mirror = affinity
    return _collected(maps, image) + _collected(maps.flip(-1), mirror).flip(-1)


def _collected(maps: Tensor, affinity: Tensor) -> Tensor:
    """Return at every patch the sum over those it attends to."""
    return (maps.flatten(1) @ affinity.mT).view_as(maps)
