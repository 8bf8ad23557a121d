"""Which classes are asked for: ``class_idx`` in its forms, and the targets of pytorch-grad-cam."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lpcam.errors import LpcamError

ClassIndex = int | Tensor | Sequence[int | Sequence[int]]
"""One class for all images; a list of N, one an image; or a list of N lists, some for each image."""

Target = Callable[[Any], Any]


def chosen_classes(
    class_idx: ClassIndex | None, targets: Target | Sequence[Target] | None, count: int, num_classes: int
) -> list[tuple[int, ...]] | None:
    """Return the classes of every image, or None where they are to be predicted.

    Args:
        class_idx: As `ClassIndex`.
        targets: One for all images, or N of them, such as pytorch-grad-cam's ``ClassifierOutputTarget(281)``.
        count: N.
        num_classes: K.

    Raises:
        LpcamError: both are given, their number is not N, or a class does not exist.

    >>> chosen_classes([[1], [0, 2]], None, 2, 3), chosen_classes(2, None, 2, 3), chosen_classes([2, 0], None, 2, 3)
    ([(1,), (0, 2)], [(2,), (2,)], [(2,), (0,)])
    """
    if class_idx is not None and targets is not None:
        raise LpcamError("both class_idx and targets are given: give one of them")
    if targets is not None:
        class_idx = _of_targets(targets, num_classes)
    if class_idx is None:
        return None
    chosen = _spread(class_idx, count)
    for label in (label for labels in chosen for label in labels):
        check_class(label, num_classes)
    return chosen


def check_class(label: int, num_classes: int) -> None:
    """Refuse a class index outside 0..K-1.

    Raises:
        LpcamError: it is outside.
    """
    if not 0 <= label < num_classes:
        raise LpcamError(f"class {label} does not exist: choose from 0 to {num_classes - 1}")


def class_of(target: Target, num_classes: int) -> int:
    """Return the class that a target of pytorch-grad-cam means.

    That is its ``category``, if the target is a score of one image's logits that grows with the logit of that class.

    Raises:
        LpcamError: the target means no class.
    """
    category: Any = getattr(target, "category", None)
    if isinstance(category, bool) or not hasattr(category, "__index__"):
        raise _no_class(target)
    label = operator.index(category)
    check_class(label, num_classes)
    logits = torch.zeros(num_classes)
    try:
        before, after = target(logits), target(logits.index_fill(0, torch.tensor([label]), 1.0))
        grows = before.numel() == 1 and bool(after > before)
    except Exception as error:  # a stranger's function on an output it may not know
        raise _no_class(target) from error
    if not grows:
        raise _no_class(target)
    return label


def _of_targets(targets: Target | Sequence[Target], num_classes: int) -> int | list[int]:
    if isinstance(targets, Sequence):
        return [class_of(target, num_classes) for target in targets]
    return class_of(targets, num_classes)


def _spread(class_idx: ClassIndex, count: int) -> list[tuple[int, ...]]:
    value = class_idx.tolist() if hasattr(class_idx, "tolist") else class_idx
    if not isinstance(value, Sequence):
        return [(_index(value),)] * count
    if len(value) != count:
        raise LpcamError(
            f"classes for {len(value)} images are given and there are {count}: "
            "give a list for every image, such as [[11], [3, 14]]"
        )
    return [tuple(map(_index, entry)) if isinstance(entry, Sequence) else (_index(entry),) for entry in value]


def _index(value: object) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise LpcamError(f"class {value!r} is not an index: give whole numbers, such as [[11], [3, 14]]")
    return operator.index(value)


def _no_class(target: Target) -> LpcamError:
    return LpcamError(
        f"target {type(target).__name__} does not mean one class: give ClassifierOutputTarget(class), or class_idx"
    )
