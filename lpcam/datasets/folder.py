"""A folder of photos with a table of labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lpcam.datasets.labels import Labels, classes_of_csv, labels_from_masks, read_classes, read_labels
from lpcam.datasets.lists import (
    MASK_SUFFIXES,
    PHOTO_SUFFIXES,
    Spellings,
    check_name,
    check_root,
    files_by_name,
    find_list,
    list_names,
    photos_of,
    read_list,
)
from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Photo

ALL = "all"
_JOINT = "__"


def open_folder(
    root: Path,
    split: str = ALL,
    *,
    labels: Path | None = None,
    classes: Path | None = None,
    masks: Path | None = None,
) -> DataSplit:
    """Open a folder of photos; no photo is decoded.

    Photos lie in ``root`` and the folders in it (hidden ones and the folder of masks are passed over) and are named by
    their files without suffix, those of folders with the folder before: ``a/b.jpg`` is ``a__b``, as its seed is a file
    of that name. Lists and tables may say ``a__b``, ``a/b`` or ``a/b.jpg``, with or without the name of ``root`` itself
    in front. Links are followed; a folder is read once, and one inside ``root`` under its own name only.

    Labels are those of ``labels``, else of ``root/labels.csv``, else, where ``classes`` are given, the classes in the
    masks, which a notice says.

    Args:
        root: The folder of photos.
        split: ``all`` for every photo, sorted by name; else the name of a list ``root/<split>.txt``, or
            the path of one.
        labels: A CSV or ``cls_labels.npy``; see `lpcam.datasets.labels.read_labels`.
        classes: A file of class names; by default the names in the CSV, sorted.
        masks: A folder with ``<name>.png`` (``a/b.png`` or ``a__b.png``); by default a folder ``masks`` beside or in
            ``root``, if there is one.

    Raises:
        LpcamError: something is missing or does not fit.
    """
    check_root(root)
    folder = masks or _default_masks(root)
    files = _files(root, PHOTO_SUFFIXES, apart=(root / "masks", *([folder] if folder else [])))
    if not files:
        raise LpcamError(f"{root} holds no photos: pass the folder they lie in as --root")
    name, photos = _photos(root, split, files)
    mask_files = _masks(photos, folder, asked=masks is not None)
    table = labels or _table(root)
    names = read_classes(classes) if classes else _class_names(table, files, root)
    found, notices = _labels(root, table, photos, names, mask_files)
    records = (Photo(photo, path, found[photo], mask_files.get(photo)) for photo, path in photos.items())
    return DataSplit("folder", name, names, tuple(records), notices)


def _files(root: Path, suffixes: frozenset[str], apart: Iterable[Path] = ()) -> dict[str, Path]:
    """Return the files of a folder and of those in it by flat names, sorted."""
    files = files_by_name(root, suffixes)
    for folder in _folders(root, apart):
        prefix = folder.relative_to(root).as_posix().replace("/", _JOINT)
        deeper = {f"{prefix}{_JOINT}{name}": path for name, path in files_by_name(folder, suffixes).items()}
        for name in deeper.keys() & files.keys():
            raise LpcamError(f"{files[name]} and {deeper[name]} are both '{name}': rename one, names must be unique")
        files |= deeper
    return dict(sorted(files.items()))


def _folders(root: Path, apart: Iterable[Path]) -> list[Path]:
    """Return the folders in a folder, sorted; through links too, each once and none that is there already."""
    inside = root.resolve()
    seen = {inside, *(folder.resolve() for folder in apart)}
    found = []
    for place, names, _ in os.walk(root, followlinks=True):
        kept = []
        for folder in (Path(place) / name for name in sorted(names) if not name.startswith(".")):
            real = folder.resolve()
            if real in seen or (folder.is_symlink() and real.is_relative_to(inside)):
                continue
            seen.add(real)
            kept.append(folder)
        names[:] = [folder.name for folder in kept]
        found += kept
    return found


def _spellings_in(root: Path) -> Spellings:
    """Return how lists and tables may spell the photos of a folder."""
    own = root.resolve().name

    def spellings(name: str, path: Path) -> tuple[str, ...]:
        file = path.relative_to(root)
        inside = (file.as_posix(), file.with_suffix("").as_posix())
        return tuple(dict.fromkeys((name, *inside, *(f"{own}/{spelling}" for spelling in inside))))

    return spellings


def _photos(root: Path, split: str, files: dict[str, Path]) -> tuple[str, dict[str, Path]]:
    """Return the split's name and its photos by name."""
    if split != ALL and not list_names([root]) and "/" not in split and not split.endswith(".txt"):
        raise LpcamError(f"no list {split}.txt in {root}: give --split {ALL} for every photo, or the path of a list")
    if split == ALL and not (root / f"{ALL}.txt").is_file():
        for name in files:
            check_name(name, str(root))
        return ALL, files
    list_path = find_list(split, [root])
    return list_path.stem, photos_of(read_list(list_path, paths=True), files, list_path, _spellings_in(root))


def _default_masks(root: Path) -> Path | None:
    places = (root.parent / "masks", root / "masks")
    return next((place for place in places if place.is_dir() and place.resolve() != root.resolve()), None)


def _masks(photos: Iterable[str], folder: Path | None, *, asked: bool) -> dict[str, Path]:
    if folder is None:
        return {}
    files = _files(folder, MASK_SUFFIXES)
    masks = {name: files[name] for name in photos if name in files}
    if asked and not masks:
        raise LpcamError(f"{folder} has no mask of these photos: pass a folder of <name>.png as --masks")
    return masks


def _table(root: Path) -> Path | None:
    path = root / "labels.csv"
    return path if path.is_file() else None


def _class_names(table: Path | None, files: Mapping[str, Path], root: Path) -> tuple[str, ...]:
    if table is None:
        raise LpcamError("the folder has no labels.csv to take class names from: pass --labels or --classes FILE")
    return classes_of_csv(table, files, _spellings_in(root))


def _labels(
    root: Path, table: Path | None, photos: dict[str, Path], classes: tuple[str, ...], masks: dict[str, Path]
) -> tuple[Labels, tuple[str, ...]]:
    if table:
        return read_labels(table, photos, classes, _spellings_in(root)), ()
    if not masks:
        raise LpcamError(f"{root} has no labels.csv: pass --labels FILE, or --masks DIR to take labels from masks")
    notice = "image-level labels were taken from the masks, as there is no labels.csv: pass --labels to use others"
    return labels_from_masks(masks, photos, classes), (notice,)
