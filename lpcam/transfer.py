"""What a device hands to the host: copies that are under way while it goes on, and the moment they have arrived."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def to_host(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU; one of a CUDA device arrives in pinned memory, later (see `arrival`)."""
    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def arrival(device: torch.device) -> Callable[[], None]:
    """Return a call that waits until every copy issued so far has arrived.

    >>> arrival(torch.device("cpu"))()
    """
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event.synchronize
