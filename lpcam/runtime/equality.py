"""What a runtime makes of a network, and what that is held to before it is used: torch's features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError

Network = Callable[[Tensor], Tensor]
"""Takes images [N, 3, H, W] to features [N, C, h, w]."""

LevelsNetwork = Callable[[Tensor], tuple[Tensor, ...]]
"""Takes images [N, 3, H, W] to the features [N, C_l, h_l, w_l] of every level; those of the last are the features."""


def require_equal(run: LevelsNetwork, classifier: Classifier, title: str, tolerance: float) -> None:
    """Hold a network to torch's features, at a size that it was not converted with.

    max |found − expected| ≤ tolerance · max |expected|

    Args:
        run: The network as the runtime carries it out; of every level, or of the last ones.
        classifier: What it was converted from.
        title: The runtime's name in messages.
        tolerance: Of the largest feature of a level.

    Raises:
        LpcamError: shapes or features differ.
    """
    side = classifier.minimum_side
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 2 * side, 3 * side, generator=generator)
    found = run(images)
    expected = classifier.levels(images)[-len(found) :]
    if not all(_near(*pair, tolerance) for pair in zip(found, expected, strict=True)):
        raise refusal(title, classifier)


def refusal(title: str, classifier: Classifier) -> LpcamError:
    """Return what a user is told where a runtime cannot carry out a network."""
    return LpcamError(f"{title} cannot carry out '{classifier.arch}' as torch does: leave --runtime out")


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
