"""Image-level labels as loaders give them: multi-hot tensors, class indices, lists."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.live.choices import check_class


def labels_of_batch(labels: object, count: int, num_classes: int) -> list[tuple[int, ...]]:
    """Return the sorted class indices of every image of a batch.

    Args:
        labels: Tensor or array [N, K], multi-hot; of whole numbers [N], one class an image; or a sequence of N
            entries as `labels_of` takes them.
        count: N.
        num_classes: K.

    Raises:
        LpcamError: their number is not N, or an entry cannot be read.

    >>> labels_of_batch(torch.tensor([[0, 1, 1], [1, 0, 0]]), 2, 3), labels_of_batch([[2, 0], 1], 2, 3)
    ([(1, 2), (0,)], [(0, 2), (1,)])
    """
    entries = list(_as_tensor(labels)) if _is_array(labels) else labels
    if not isinstance(entries, Sequence) or len(entries) != count:
        found = len(entries) if isinstance(entries, Sequence) else type(entries).__name__
        raise LpcamError(f"labels for {count} images are expected, got {found}: give one entry an image")
    return [labels_of(entry, num_classes) for entry in entries]


def labels_of(labels: object, num_classes: int) -> tuple[int, ...]:
    """Return the sorted class indices of one image.

    Args:
        labels: A class, a sequence of class indices, or a tensor or array [K], multi-hot.
        num_classes: K.

    Raises:
        LpcamError: it is none of these, or a class does not exist.
    """
    if _is_array(labels) and _as_tensor(labels).ndim > 0:
        return _of_multi_hot(_as_tensor(labels), num_classes)
    entries = labels if isinstance(labels, Sequence) else [labels]
    chosen = sorted({_index(entry) for entry in entries})
    for label in chosen:
        check_class(label, num_classes)
    return tuple(chosen)


def _of_multi_hot(row: Tensor, num_classes: int) -> tuple[int, ...]:
    if row.shape != (num_classes,) or not bool(((row == 0) | (row == 1)).all()):
        raise LpcamError(
            f"labels {row.tolist()} are not {num_classes} zeros and ones, one for each class: "
            "give class indices as a list"
        )
    return tuple(row.nonzero()[:, 0].tolist())


def _index(label: object) -> int:
    value: Any = _only_value(_as_tensor(label)) if _is_array(label) else label
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__"):
        raise LpcamError(f"label {label!r} is not a class index: give whole numbers, or a multi-hot tensor")
    return operator.index(value)


def _only_value(array: Tensor) -> object:
    return array.item() if array.numel() == 1 else None


def _is_array(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _as_tensor(value: object) -> Tensor:
    return torch.as_tensor(value)
