"""What reader and writer share: torch that is not imported, and how much a file unpacks to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_ALWAYS, _TIMES = 2**26, 4  # what a file may unpack to: bytes, and times its own


def require_extent(content: object, size: int) -> None:
    """Refuse what a file unpacks to where it is far more than the file, or without end.

    Args:
        content: Containers, arrays, tensors, numbers and strings.
        size: Of the file in bytes.

    Raises:
        ValueError: what is shared makes it more than four times the file and 64 MB, or it holds itself.
    """
    if _extent(content) > max(_ALWAYS, _TIMES * size):
        raise ValueError(f"unpacks to far more than the {size} bytes it has, or holds itself")


def _extent(content: object) -> int:
    """Return how much there is when everything that is shared counts as often as it is reached.

    A list of ten lists of ten lists … is small in memory and without end for whoever makes an array of it. What holds
    itself has no end at all. Numbers count 1, strings their letters, arrays and tensors their bytes.
    """
    known: dict[int, int] = {}
    waiting: list[tuple[Any, list[Any] | None]] = [(content, None)]
    while waiting:
        value, inner = waiting.pop()
        if inner is not None:
            known[id(value)] = 1 + sum(known[id(each)] for each in inner)
        elif id(value) not in known:
            inner = _inner(value)
            if inner is None:
                known[id(value)] = _size(value)
                continue
            known[id(value)] = sys.maxsize  # until it is known: of what holds itself
            waiting.append((value, inner))
            waiting += [(each, None) for each in inner if id(each) not in known]
    return known[id(content)]


def _inner(value: Any) -> list[Any] | None:
    """Return what a container holds; None for anything else."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        objects: list[Any] = value.reshape(-1).tolist()
        return objects
    return None


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return max(value.nbytes, value.size)
    if is_tensor(value):
        return int(value.numel()) * int(value.element_size())
    return max(1, len(value)) if isinstance(value, str | bytes) else 1


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def torch_rebuild() -> Callable[..., Tensor]:
    """Return torch's own function that makes a tensor of a storage."""
    from torch._utils import _rebuild_tensor_v2

    rebuild: Callable[..., Tensor] = _rebuild_tensor_v2
    return rebuild
