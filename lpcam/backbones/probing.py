"""What becomes of the shape of an image in a network, without computing anything.

An empty batch goes through the network on the CPU: kernels without an image to work on still say what shape comes out.
torch's ``meta`` device says so too, but works shapes out in Python, by parts of torch that take seconds to import
(torch._dynamo, sympy). Networks that cannot tell how many zeros stand where (``reshape(0, -1)``: many transformers) are
left to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

Shape = tuple[int, ...]


@torch.no_grad()
def shapes_after(stages: Sequence[nn.Module], shape: Sequence[int]) -> list[Shape]:
    """Return the shape of what every stage returns, without the batch.

    Args:
        stages: Modules in eval mode, applied one after the other; their tensors are left alone, on any device.
        shape: Of what goes into the first, without the batch: (3, H, W) of an image.

    >>> shapes_after([nn.Conv2d(3, 4, 2, 2, device="meta"), nn.Flatten(2)], (3, 8, 6))
    [(4, 4, 3), (4, 12)]
    """
    try:
        return _shapes(stages, torch.empty(0, *shape, device="cpu"))
    except Exception:  # a reshape with -1 in it, mostly; what is wrong with the network itself is raised once more
        return _shapes(stages, torch.empty(1, *shape, device="meta"))


def _shapes(stages: Sequence[nn.Module], grid: Tensor) -> list[Shape]:
    found = []
    for stage in stages:
        grid = functional_call(stage, _placeholders(stage, grid.device), (grid,))
        found.append(tuple(grid.shape[1:]))
    return found


def _placeholders(stage: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Return tensors in place of a stage's own; those of whole numbers, which may be indices, are zero."""
    own = (*stage.named_parameters(), *stage.named_buffers())
    return {name: _placeholder(tensor, device) for name, tensor in own}


def _placeholder(like: Tensor, device: torch.device) -> Tensor:
    make = torch.empty if like.is_floating_point() else torch.zeros  # memory that is not written to takes none
    return make(like.shape, dtype=like.dtype, device=device)
