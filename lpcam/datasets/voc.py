"""Data sets in the layout of PASCAL VOC."""

from __future__ import annotations

from pathlib import Path

from lpcam.datasets.labels import Labels, labels_from_masks, labels_from_xml, read_classes, read_labels
from lpcam.datasets.lists import (
    PHOTO_SUFFIXES,
    check_root,
    files_by_name,
    find_list,
    masks_of,
    photos_of,
    read_list,
)
from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Photo

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def open_voc(
    root: Path,
    split: str,
    *,
    labels: Path | None = None,
    classes: Path | None = None,
    masks: Path | None = None,
) -> DataSplit:
    """Open a split of a folder in the VOC layout; no photo is decoded.

    Photos are ``JPEGImages/<name>.jpg`` (or another image suffix), lists
    ``ImageSets/Segmentation/<split>.txt`` or else ``ImageSets/Main/<split>.txt``, masks
    ``SegmentationClass/<name>.png`` where they exist. Image-level labels are those of ``labels``, else of
    ``Annotations/<name>.xml``, else the classes in the masks, which a notice says.

    Args:
        root: The folder with JPEGImages.
        split: The name of a list, or the path of one.
        labels: A CSV or ``cls_labels.npy``; see `lpcam.datasets.labels.read_labels`.
        classes: A file of class names; by default VOC's twenty.
        masks: The folder of masks, in place of ``SegmentationClass``.

    Raises:
        LpcamError: something is missing or does not fit.
    """
    check_root(root)
    files = files_by_name(_photo_folder(root), PHOTO_SUFFIXES)
    list_path = find_list(split, [root / "ImageSets" / "Segmentation", root / "ImageSets" / "Main"])
    photos = photos_of(read_list(list_path), files, list_path)
    names = read_classes(classes) if classes else VOC_CLASSES
    mask_files = masks_of(photos, masks, root / "SegmentationClass")
    found, notices = _labels(root, labels, photos, names, mask_files)
    records = (Photo(name, path, found[name], mask_files.get(name)) for name, path in photos.items())
    return DataSplit("voc", list_path.stem, names, tuple(records), notices)


def _photo_folder(root: Path) -> Path:
    folder = root / "JPEGImages"
    if folder.is_dir():
        return folder
    deeper = sorted([*root.glob("*/JPEGImages"), *root.glob("VOCdevkit/*/JPEGImages")])
    advice = f"did you mean {deeper[0].parent}?" if deeper else "pass the folder that holds it as --root"
    raise LpcamError(f"{root} has no folder JPEGImages: {advice}")


def _labels(
    root: Path, labels: Path | None, photos: dict[str, Path], classes: tuple[str, ...], masks: dict[str, Path]
) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels from the best source there is, and what to say of it."""
    if labels:
        return read_labels(labels, photos, classes), ()
    if (root / "Annotations").is_dir():
        return labels_from_xml(root / "Annotations", photos, classes), ()
    if not masks:
        raise LpcamError(f"{root} has neither Annotations nor masks of this split: pass --labels FILE")
    notice = "image-level labels were taken from the masks, as there are no Annotations: pass --labels to use others"
    return labels_from_masks(masks, photos, classes), (notice,)
