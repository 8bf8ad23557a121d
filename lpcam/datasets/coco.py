"""MS COCO, of 2014 and 2017: photos, image-level labels and masks from its instances JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from lpcam.datasets.instances import InstanceMask, InstanceMasks, Instances, read_instances
from lpcam.datasets.labels import Labels, read_classes, read_labels
from lpcam.datasets.lists import (
    MASK_SUFFIXES,
    PHOTO_SUFFIXES,
    check_root,
    files_by_name,
    find_list,
    list_names,
    read_list,
)
from lpcam.errors import LpcamError, unknown
from lpcam.records import DataSplit, DrawnMask, Photo

_SPLITS = tuple(f"{part}{year}" for part, year in product(("train", "val"), (2014, 2017)))
_NAME = re.compile(r"(?:COCO_(?:train|val|test)201[0-9]_)?([0-9]{12})")
_PREFIX = "instances_"


def open_coco(
    root: Path,
    split: str,
    *,
    labels: Path | None = None,
    classes: Path | None = None,
    masks: Path | None = None,
) -> DataSplit:
    """Open a split of COCO; no photo is decoded and no mask drawn.

    Photos lie in ``root/<split>``, ``root/images/<split>``, the folders of the other splits (the photos of 2014 and
    2017 are the same ones), ``root/images``, ``root/JPEGImages`` or ``root`` itself, as
    ``COCO_train2014_000000000009.jpg`` or ``000000000009.jpg``. Lists, tables and masks may spell a photo in either
    way; a photo is named as the list spells it, and as the JSON does where there is no list. Photos without any class
    are kept.

    Classes are the JSON's categories in the order of their ids: COCO's 80. Image-level labels are those of ``labels``,
    else the classes of all annotations of the photo, crowds too. Masks are those of ``masks``, else drawn from the
    outlines (see `lpcam.datasets.instances.InstanceMasks`); crowds are 255.

    Args:
        root: The folder with ``annotations/instances_<split>.json``.
        split: ``train2014``, ``val2014``, ``train2017``, ``val2017`` or another ``instances_<split>.json``; the path of
            such a file; the name of a list ``root/<split>.txt`` or ``root/ImageSets/Segmentation/<split>.txt``; or the
            path of a list. The photos of a list are looked up in all instances files of the folder.
        labels: A CSV or ``cls_labels.npy``; see `lpcam.datasets.labels.read_labels`.
        classes: A file that chooses classes among the categories, and their order.
        masks: A folder with ``<name>.png``, in place of what is drawn.

    Raises:
        LpcamError: something is missing or does not fit.
    """
    check_root(root)
    name, listed = _split(root, split)
    names = read_classes(classes) if classes else listed[0].instances.classes
    categories = _chosen(names, listed, classes)
    photos = _photos(root, listed)
    label_of = read_labels(labels, photos, names, _spellings) if labels else _labels(listed, categories)
    mask_of = _mask_files(photos, masks) if masks else _drawings(listed, categories)
    records = (Photo(photo, path, label_of[photo], mask_of.get(photo)) for photo, path in photos.items())
    return DataSplit("coco", name, names, tuple(records))


@dataclass(frozen=True)
class _Listed:
    """A photo of the split: the name it bears here, its image id, and the instances file that has it."""

    name: str
    image: int
    instances: Instances


# ------------------------------------------------------------------------------------------- splits


def _split(root: Path, split: str) -> tuple[str, list[_Listed]]:
    """Return the split's name and its photos: in the order of the list or, without one, of their names."""
    files = _instances_files(root)
    whole = Path(split) if split.endswith(".json") else files.get(split)
    if whole:
        return whole.stem.removeprefix(_PREFIX), _all_of(read_instances(whole))
    if not files:
        raise LpcamError(
            f"{root} has no annotations/{_PREFIX}<split>.json: get COCO's annotations from cocodataset.org, "
            "or pass the path of an instances JSON as --split"
        )
    path = _list_path(root, split, files)
    return path.stem, _looked_up(path, files)


def _all_of(instances: Instances) -> list[_Listed]:
    if len(set(instances.names.values())) < len(instances.names) or not instances.names:
        raise LpcamError(f"{instances.path} has no images, or two of one file name: make the names unique")
    return sorted(
        (_Listed(name, image, instances) for image, name in instances.names.items()), key=lambda entry: entry.name
    )


def _instances_files(root: Path) -> dict[str, Path]:
    """Return the instances files by the name of their split, sorted."""
    found = sorted((root / "annotations").glob("instances*.json"))
    return {path.stem.removeprefix(_PREFIX): path for path in found}


def _list_path(root: Path, split: str, files: Iterable[str]) -> Path:
    folders = [root, root / "ImageSets" / "Segmentation"]
    choices = {*files, *list_names(folders)}
    if split.endswith(".txt") or "/" in split or split in choices:
        return find_list(split, folders)
    raise unknown("split", split, choices)


def _looked_up(path: Path, files: Mapping[str, Path]) -> list[_Listed]:
    """Find the listed photos in the instances files, one file after the other until all are found."""
    names = read_list(path)
    keys = {name: _key(name) for name in names}
    if len(set(keys.values())) < len(names):
        raise LpcamError(f"{path} lists a photo twice, spelled in two ways: remove one")
    found: dict[str, _Listed] = {}
    for split in sorted(files, key=lambda split: split not in names[0]):  # COCO_val2014_… is likely in val2014
        instances = read_instances(files[split])
        images = {_key(name): image for image, name in instances.names.items()}
        for name in names:
            if name not in found and keys[name] in images:
                found[name] = _Listed(name, images[keys[name]], instances)
        if len(found) == len(names):
            return [found[name] for name in names]
    absent = next(name for name in names if name not in found)
    raise LpcamError(
        f"{path} lists {len(names) - len(found)} of {len(names)} photos that no instances file of the folder has, the "
        f"first is '{absent}': take them off the list, or add the JSON they are in"
    )


# ------------------------------------------------------------------------------------------ photos


def _key(name: str) -> str:
    """Return what the spellings of a photo share: the twelve digits of a COCO name, or else the whole name.

    >>> _key("COCO_train2014_000000000009"), _key("000000000009"), _key("frame-9")
    ('000000000009', '000000000009', 'frame-9')
    """
    match = _NAME.fullmatch(name)
    return match[1] if match else name


def _spellings(name: str, path: Path) -> tuple[str, ...]:
    key = _key(name)
    known = (name, path.stem, key, *(f"COCO_{split}_{key}" for split in _SPLITS if _NAME.fullmatch(name)))
    return tuple(dict.fromkeys((*known, *(f"{spelling}{path.suffix}" for spelling in known))))


def _photos(root: Path, listed: Sequence[_Listed]) -> dict[str, Path]:
    """Return the photo of every entry by its name; folders are read until all are found."""
    wanted = {_key(entry.name) for entry in listed}
    files: dict[str, Path] = {}
    for folder in _photo_folders(root, listed):
        if wanted <= files.keys():
            break
        files = {_key(name): path for name, path in files_by_name(folder, PHOTO_SUFFIXES).items()} | files
    absent = [entry.name for entry in listed if _key(entry.name) not in files]
    if absent:
        raise LpcamError(
            f"{root} lacks {len(absent)} of {len(listed)} photos, the first is '{absent[0]}': put them into "
            f"{root / 'train2014'} or a folder like it, or pass a list of those you have as --split"
        )
    return {entry.name: files[_key(entry.name)] for entry in listed}


def _photo_folders(root: Path, listed: Sequence[_Listed]) -> list[Path]:
    """Return the folders that exist, those of the split itself first."""
    own = dict.fromkeys(entry.instances.path.stem.removeprefix(_PREFIX) for entry in listed)
    splits = dict.fromkeys((*own, *_SPLITS))
    candidates = [base / split for base in (root, root / "images") for split in splits]
    return [path for path in (*candidates, root / "images", root / "JPEGImages", root) if path.is_dir()]


def _mask_files(photos: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    files = {_key(name): path for name, path in files_by_name(folder, MASK_SUFFIXES).items()}
    masks = {name: files[_key(name)] for name in photos if _key(name) in files}
    if not masks:
        raise LpcamError(f"{folder} has no mask of these photos: pass a folder of <name>.png as --masks")
    return masks


# ---------------------------------------------------------------------------------- labels and masks


def _chosen(names: Sequence[str], listed: Sequence[_Listed], classes: Path | None) -> tuple[int, ...]:
    """Return the category id of every class."""
    first = listed[0].instances
    for other in {entry.instances.path: entry.instances for entry in listed}.values():
        if (other.categories, other.classes) != (first.categories, first.classes):
            raise LpcamError(f"{first.path} and {other.path} have other categories: use lists within one of them")
    ids = dict(zip(first.classes, first.categories, strict=True))
    for name in names:
        if name not in ids:
            raise LpcamError(f"{classes}: {unknown('class', name, ids)}")
    return tuple(ids[name] for name in names)


def _labels(listed: Iterable[_Listed], categories: Sequence[int]) -> Labels:
    index = {category: label for label, category in enumerate(categories)}
    return {
        entry.name: tuple(
            sorted(index[category] for category in entry.instances.labels[entry.image] if category in index)
        )
        for entry in listed
    }


def _drawings(listed: Sequence[_Listed], categories: tuple[int, ...]) -> Mapping[str, DrawnMask]:
    masks = {entry.instances.path: InstanceMasks(entry.instances.path, categories) for entry in listed}
    return {entry.name: InstanceMask(masks[entry.instances.path], entry.image) for entry in listed}
