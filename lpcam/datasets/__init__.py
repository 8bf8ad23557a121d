"""Photos, their image-level labels and their masks, from the layouts in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from lpcam.datasets.coco import open_coco
from lpcam.datasets.folder import open_folder
from lpcam.datasets.lists import alike, check_name
from lpcam.datasets.photos import photo_size, read_mask, read_photo
from lpcam.datasets.voc import open_voc
from lpcam.errors import unknown
from lpcam.records import DataSplit

__all__ = ["KINDS", "open_split", "photo_size", "read_mask", "read_photo"]


class Opener(Protocol):
    """Opens a split of one kind of data set."""

    def __call__(
        self, root: Path, split: str, *, labels: Path | None, classes: Path | None, masks: Path | None
    ) -> DataSplit:
        """Return the split; the arguments are those of `open_split`."""


def open_split(
    dataset: str,
    root: Path,
    split: str,
    *,
    labels: Path | None = None,
    classes: Path | None = None,
    masks: Path | None = None,
) -> DataSplit:
    """Open a split of a data set: its photos with their image-level labels; no photo is decoded.

    Args:
        dataset: ``voc`` (`lpcam.datasets.voc.open_voc`), ``coco`` (`lpcam.datasets.coco.open_coco`), ``folder``
            (`lpcam.datasets.folder.open_folder`) or ``demo`` (`lpcam.datasets.demo.open_demo`).
        root: The data set's folder.
        split: The name of a list of photos, such as ``train``, or the path of one.
        labels: A CSV ``name,classes`` or ``cls_labels.npy``, in place of the data set's own labels.
        classes: A file with a class name a line, in place of the data set's own.
        masks: A folder of ``<name>.png``, in place of the data set's own.

    Raises:
        LpcamError: the kind is unknown, or something is missing or does not fit.
    """
    if dataset not in _OPENERS:
        raise unknown("data set", dataset, _OPENERS)
    opened = _OPENERS[dataset](root, split, labels=labels, classes=classes, masks=masks)
    for photo in opened.photos:
        check_name(photo.name, str(photo.path))
    return replace(opened, notices=(*opened.notices, *alike(photo.name for photo in opened.photos)))


def _open_demo(root: Path, split: str, *, labels: Path | None, classes: Path | None, masks: Path | None) -> DataSplit:
    from lpcam.datasets.demo import open_demo  # which draws its own photos and needs more than others

    return open_demo(root, split, labels=labels, classes=classes, masks=masks)


_OPENERS: dict[str, Opener] = {"coco": open_coco, "demo": _open_demo, "folder": open_folder, "voc": open_voc}

KINDS = tuple(_OPENERS)
"""The kinds of data sets that `open_split` knows."""
