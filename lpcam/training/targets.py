"""Image-level labels as numbers to learn, and how well a classifier tells them."""

from __future__ import annotations

import torch
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.records import DataSplit


def label_matrix(split: DataSplit) -> Tensor:
    """Return the image-level labels as 0 and 1: float32 [N, K].

    >>> from pathlib import Path
    >>> from lpcam.records import Photo
    >>> label_matrix(DataSplit("folder", "train", ("cat", "dog"), (Photo("a", Path("a.jpg"), (1,)),))).tolist()
    [[0.0, 1.0]]
    """
    targets = torch.zeros(len(split.photos), len(split.classes))
    for row, photo in zip(targets, split.photos, strict=True):
        row[list(photo.labels)] = 1.0
    return targets


def require_labels(targets: Tensor, split: str) -> None:
    """Raise where no photo has a label.

    Raises:
        LpcamError: there is nothing to learn from.
    """
    if not targets.any():
        raise LpcamError(
            f"split {split} has no photo with an image-level label: give them with --labels, or choose another --split"
        )


def absent_classes(targets: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a notice for the classes that no photo shows, or none.

    >>> absent_classes(torch.tensor([[1.0, 0.0]]), ("cat", "dog"))
    ('1 of 2 classes has no photo, nothing is learnt of it: dog',)
    """
    absent = [name for name, seen in zip(classes, targets.any(dim=0).tolist(), strict=True) if not seen]
    if not absent:
        return ()
    has, it = ("has", "it") if len(absent) == 1 else ("have", "them")
    return (f"{len(absent)} of {len(classes)} classes {has} no photo, nothing is learnt of {it}: {', '.join(absent)}",)


def mean_average_precision(scores: Tensor, targets: Tensor) -> float | None:
    """Return mAP: scikit-learn's average precision of every class, mean over the classes that some photo shows.

    Args:
        scores: float [N, K], higher for a photo that shows the class.
        targets: float [N, K], 0 or 1.

    Returns:
        In 0..1; None where no photo shows any class.

    >>> mean_average_precision(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    present = targets.any(dim=0)
    if not present.any():
        return None
    truth, found = targets[:, present].cpu().numpy(), scores[:, present].double().cpu().numpy()
    return float(average_precision_score(truth, found, average="macro"))
