"""A folder of photos with a table of labels."""

from __future__ import annotations

from pathlib import Path

from lpcam.datasets.labels import Labels, classes_of_csv, labels_from_masks, read_classes, read_labels
from lpcam.datasets.lists import (
    PHOTO_SUFFIXES,
    check_name,
    check_root,
    files_by_name,
    find_list,
    masks_of,
    photos_of,
    read_list,
)
from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Photo

ALL = "all"


def open_folder(
    root: Path,
    split: str = ALL,
    *,
    labels: Path | None = None,
    classes: Path | None = None,
    masks: Path | None = None,
) -> DataSplit:
    """Open a folder of photos; no photo is decoded.

    Photos lie in ``root`` itself and are named by their files without suffix. Labels are those of
    ``labels``, else of ``root/labels.csv``, else, where ``classes`` are given, the classes in the masks, which
    a notice says.

    Args:
        root: The folder of photos.
        split: ``all`` for every photo, sorted by name; else the name of a list ``root/<split>.txt``, or
            the path of one.
        labels: A CSV or ``cls_labels.npy``; see `lpcam.datasets.labels.read_labels`.
        classes: A file of class names; by default the names in the CSV, sorted.
        masks: A folder with ``<name>.png``; by default a folder ``masks`` beside ``root``, if there is one.

    Raises:
        LpcamError: something is missing or does not fit.
    """
    check_root(root)
    name, photos = _photos(root, split)
    mask_files = masks_of(photos, masks, root.parent / "masks")
    table = labels or _table(root)
    names = read_classes(classes) if classes else _class_names(table)
    found, notices = _labels(root, table, photos, names, mask_files)
    records = (Photo(photo, path, found[photo], mask_files.get(photo)) for photo, path in photos.items())
    return DataSplit("folder", name, names, tuple(records), notices)


def _photos(root: Path, split: str) -> tuple[str, dict[str, Path]]:
    """Return the split's name and its photos by name."""
    files = files_by_name(root, PHOTO_SUFFIXES)
    if not files:
        raise LpcamError(f"{root} holds no photos: pass the folder they lie in as --root")
    if split == ALL and not (root / f"{ALL}.txt").is_file():
        for name in files:
            check_name(name, str(root))
        return ALL, files
    list_path = find_list(split, [root])
    return list_path.stem, photos_of(read_list(list_path), files, list_path)


def _table(root: Path) -> Path | None:
    path = root / "labels.csv"
    return path if path.is_file() else None


def _class_names(table: Path | None) -> tuple[str, ...]:
    if table is None:
        raise LpcamError("the folder has no labels.csv to take class names from: pass --labels or --classes FILE")
    return classes_of_csv(table)


def _labels(
    root: Path, table: Path | None, photos: dict[str, Path], classes: tuple[str, ...], masks: dict[str, Path]
) -> tuple[Labels, tuple[str, ...]]:
    if table:
        return read_labels(table, photos, classes), ()
    if not masks:
        raise LpcamError(f"{root} has no labels.csv: pass --labels FILE, or --masks DIR to take labels from masks")
    notice = "image-level labels were taken from the masks, as there is no labels.csv: pass --labels to use others"
    return labels_from_masks(masks, photos, classes), (notice,)
