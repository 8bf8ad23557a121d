"""Image-level labels, from the files the field keeps them in."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from lpcam.datasets.lists import Spellings, plain_spellings, read_lines
from lpcam.datasets.photos import mask_labels
from lpcam.errors import LpcamError, unknown
from lpcam.pickles import load_dictionary

Labels = dict[str, tuple[int, ...]]
"""Sorted 0-based class indices by the name of the photo."""


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one a line, in the order of their indices, without the background.

    Raises:
        LpcamError: the file is missing or empty, repeats a name, has an empty line between names or
            counts the background.
    """
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise LpcamError(f"{path} names no classes: write a class name a line")
    if lines[0].strip("_").lower() == "background":
        raise LpcamError(f"{path} begins with the background, which is no class here: remove its first line")
    seen: dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name:
            raise LpcamError(f"{path}, line {number}: empty between class names: remove or fill it")
        if name in seen:
            raise LpcamError(f"{path} has '{name}' in lines {seen[name]} and {number}: make the names unique")
        seen[name] = number
    return tuple(seen)


def read_labels(
    path: Path, photos: Mapping[str, Path], classes: Sequence[str], spellings: Spellings = plain_spellings
) -> Labels:
    """Read the labels of some photos from a file of labels.

    Args:
        path: A CSV with the columns ``name,classes``, the classes joined by ``;``, each a name or a 0-based index
            (the header may be missing, or say ``image``, ``file``, ``class`` or ``labels``); or a ``.npy``
            file with a pickled dictionary of 0/1 vectors [K], whose keys are names or, as in IRN-style repositories,
            names read as integers (2007000063 for ``2007_000063``).
        photos: The photos by name; entries of others are passed over.
        classes: The K class names.
        spellings: The ways in which the file may spell a photo.

    Raises:
        LpcamError: the file cannot be read, lacks a photo or has labels that are none of the classes.
    """
    readers: dict[str, Callable[[Path, Mapping[str, tuple[str, ...]], Sequence[str]], Labels]] = {
        ".csv": _labels_from_csv,
        ".npy": _labels_from_npy,
    }
    if path.suffix.lower() not in readers:
        raise LpcamError(f"{path} is no file of labels: pass a .csv (name,classes) or a .npy (cls_labels.npy)")
    spelled = {name: tuple(spellings(name, photo)) for name, photo in photos.items()}
    return readers[path.suffix.lower()](path, spelled, classes)


def classes_of_csv(path: Path, photos: Mapping[str, Path], spellings: Spellings = plain_spellings) -> tuple[str, ...]:
    """Return the sorted class names that a CSV of labels uses.

    Args:
        path: The CSV.
        photos: All that the CSV may speak of, by name.
        spellings: The ways in which the CSV may spell a photo.

    Raises:
        LpcamError: the file is no such CSV, or gives classes as indices.
    """
    if path.suffix.lower() != ".csv":
        raise LpcamError(f"{path} has no class names: pass --classes FILE with a name a line")
    known = {spelling for name, photo in photos.items() for spelling in spellings(name, photo)}
    names = sorted({word for words in _read_csv(path, known).values() for word in words})
    for name in names:
        _check_joint(name, names, path)
    if not names or any(_is_index(name) for name in names):
        raise LpcamError(f"{path} gives no names for its classes: pass --classes FILE with a name a line")
    return tuple(names)


def labels_from_xml(folder: Path, names: Collection[str], classes: Sequence[str]) -> Labels:
    """Read labels from VOC's annotations: the classes of all objects, the difficult ones too.

    Args:
        folder: Holds ``<name>.xml``.
        names: Of the photos.
        classes: The K class names.

    Raises:
        LpcamError: an annotation is missing, damaged, or names another class.
    """
    files = {name: folder / f"{name}.xml" for name in names}
    _require_all([name for name, file in files.items() if file.is_file()], names, folder)
    return {name: _class_indices(_objects_of(file), classes, file, name) for name, file in files.items()}


def labels_from_masks(masks: Mapping[str, Path], names: Collection[str], classes: Sequence[str]) -> Labels:
    """Take labels from masks: the classes that have a pixel.

    Args:
        masks: Masks by the name of the photo.
        names: Of the photos.
        classes: The K class names.

    Raises:
        LpcamError: a photo has no mask, or a mask is damaged or has other values.
    """
    _require_all(masks, names, "the folder of masks")
    return {name: mask_labels(masks[name], len(classes)) for name in names}


# ---------------------------------------------------------------------------------------------- CSV


def _labels_from_csv(path: Path, photos: Mapping[str, tuple[str, ...]], classes: Sequence[str]) -> Labels:
    rows = _read_csv(path, {spelling for spellings in photos.values() for spelling in spellings}, classes)
    written = {name: [spelling for spelling in spellings if spelling in rows] for name, spellings in photos.items()}
    for spellings in written.values():
        if len(spellings) > 1:
            raise LpcamError(f"{path} has one photo as '{spellings[0]}' and as '{spellings[1]}': remove one line")
    _require_all([name for name, spellings in written.items() if spellings], photos, path)
    return {name: _class_indices(rows[spellings[0]], classes, path, name) for name, spellings in written.items()}


def _read_csv(path: Path, known: Collection[str], classes: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the words of the column ``classes`` by the column ``name``.

    Args:
        path: The CSV.
        known: Names of photos, by which a first line is seen to be no header.
        classes: Names of classes, for the same.
    """
    lines = _csv_lines(path)
    first = 1 if _has_header(lines, path, known, classes) else 0
    rows: dict[str, tuple[str, ...]] = {}
    numbers: dict[str, int] = {}
    for number, cells in lines[first:]:
        name, words = _csv_entry(cells, f"{path}, line {number}")
        if name in rows:
            raise LpcamError(
                f"{path}, line {number}: '{name}' again, after line {numbers[name]}: remove one of its lines, "
                "or join their classes by ';'"
            )
        rows[name], numbers[name] = words, number
    return rows


def _csv_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of every line that is not empty, with its number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError:
        raise LpcamError(f"{path} does not exist: check the path of the labels") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LpcamError(f"cannot read {path} ({error}): expected a UTF-8 CSV with name,classes") from error


def _has_header(
    lines: Sequence[tuple[int, list[str]]], path: Path, known: Collection[str], classes: Collection[str]
) -> bool:
    cells = lines[0][1] if lines else []
    if len(cells) == 2:
        name, words = _csv_entry(cells, f"{path}, line 1")
        if name in known:
            return False
        if name.lower() in _NAME_COLUMN and cells[1].strip().lower() in _CLASSES_COLUMN:
            return True
        if words and all(word in classes or _is_index(word) for word in words):
            return False
    raise LpcamError(
        f"{path} does not begin with the line 'name,classes', nor with the line of a photo: add it above the photos"
    )


_NAME_COLUMN = {"name", "image", "image_id", "image_name", "file", "filename", "file_name", "photo"}
_CLASSES_COLUMN = {"classes", "class", "labels", "label"}


def _csv_entry(row: Sequence[str], where: str) -> tuple[str, tuple[str, ...]]:
    if len(row) != 2:
        raise LpcamError(f"{where}: {len(row)} columns instead of name,classes: join the classes by ';'")
    name = row[0].strip().replace("\\", "/").removeprefix("./")
    return name, tuple(word.strip() for word in row[1].split(";") if word.strip())


def _check_joint(name: str, names: Collection[str], path: Path) -> None:
    """Refuse a class name that is other class names joined by another mark than ``;``."""
    parts = [part.strip() for part in re.split(r"[,|]", name)]
    if len(parts) > 1 and all(part in names for part in parts):
        raise LpcamError(f"{path} has the classes '{name}' in one, and each of them alone: join classes by ';'")


def _class_indices(words: Iterable[str], classes: Sequence[str], path: Path, name: str) -> tuple[int, ...]:
    """Return the indices of classes given by name or, where no class has such a name, by index."""
    index = {word: number for number, word in enumerate(classes)}
    found = set()
    for word in words:
        if word in index:
            found.add(index[word])
        elif _is_index(word):
            _check_index(int(word), classes, path, name)
            found.add(int(word))
        else:
            raise LpcamError(f"{path}, photo {name}: {unknown('class', word, classes)}")
    return tuple(sorted(found))


def _is_index(word: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", word) is not None


def _check_index(index: int, classes: Sequence[str], path: Path, name: str) -> None:
    if index >= len(classes):
        raise LpcamError(
            f"{path}, photo {name}: class {index} is outside 0..{len(classes) - 1}: "
            "correct the label or name all classes with --classes"
        )


# ---------------------------------------------------------------------------------------------- npy


def _labels_from_npy(path: Path, photos: Mapping[str, tuple[str, ...]], classes: Sequence[str]) -> Labels:
    table = load_dictionary(path)
    keys = {name: _key_of(spellings, table) for name, spellings in photos.items()}
    found = {name: key for name, key in keys.items() if key is not None}
    _require_all(found, photos, path)
    if len(set(found.values())) < len(found):
        raise LpcamError(f"{path} has one number for two photos of the split: use names as keys")
    return {name: _labels_of_vector(table[key], classes, path, name) for name, key in found.items()}


def _key_of(spellings: Sequence[str], table: Mapping[Any, Any]) -> str | int | None:
    """Return the key of a photo: its name, or its digits as an integer."""
    numbers = [digits for digits in (name.replace("_", "") for name in spellings) if _is_number(digits)]
    keys: tuple[str | int, ...] = (*spellings, *map(int, numbers))
    return next((key for key in keys if key in table), None)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _labels_of_vector(vector: object, classes: Sequence[str], path: Path, name: str) -> tuple[int, ...]:
    try:
        values = np.asarray(vector)
    except (ValueError, TypeError, RuntimeError):  # lists of unequal lengths, tensors NumPy has no type for
        values = np.zeros(0)
    if values.shape != (len(classes),):
        raise LpcamError(
            f"{path}, photo {name}: a vector of shape {values.shape} for {len(classes)} classes: "
            "pass --classes FILE with the names of its classes"
        )
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise LpcamError(f"{path}, photo {name}: values other than 0 and 1: pass image-level labels")
    return tuple(np.flatnonzero(values).tolist())


# ---------------------------------------------------------------------------------------------- XML


def _objects_of(path: Path) -> list[str]:
    """Return the names of the objects (not of their parts) in a VOC annotation."""
    objects: list[list[str]] = []
    place: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        if not place and tag != "annotation":
            raise ValueError(f"it is a <{tag}>, not an <annotation>")
        place.append(tag)
        if place == _OBJECT_NAME:
            objects.append([])

    def end(_: str) -> None:
        place.pop()

    def text(data: str) -> None:
        if place == _OBJECT_NAME:
            objects[-1].append(data)

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(path.read_bytes(), True)
    except (OSError, ValueError, LookupError, expat.ExpatError) as error:
        raise LpcamError(f"cannot read {path} ({error}): get it again or pass --labels FILE") from error
    return ["".join(parts).strip() for parts in objects]


_OBJECT_NAME = ["annotation", "object", "name"]


def _refuse_doctype(*_: object) -> None:
    # Entities, which can grow without bound or name other files, can only be declared there.
    raise ValueError("it has a document type declaration")


# -------------------------------------------------------------------------------------------- checks


def _require_all(found: Collection[str], names: Collection[str], source: Path | str) -> None:
    there = set(found)  # a list would be searched once a photo
    absent = [name for name in names if name not in there]
    if absent:
        raise LpcamError(
            f"{source} has no labels for {len(absent)} of {len(names)} photos, the first is '{absent[0]}': "
            "complete it, pass --labels FILE, or take the photos off the list"
        )
