"""COCO's instances JSON: photos, classes, image-level labels, and masks that are drawn when they are asked for.

The JSON of ``train2014`` has 450 MB of which nearly all are outlines. They are let go while the file is read, and read
again only when a mask is to be drawn, so that memory is the text of the file and little more.
"""

from __future__ import annotations

import importlib
import json
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from lpcam.datasets.lists import check_name
from lpcam.datasets.photos import IGNORED, MAX_PIXELS
from lpcam.errors import LpcamError

_LARGEST_AREA = 1e18  # pixels; an integer of JSON may be too large for any float
_LONGEST_POLYGON = 1e6  # pixels; pycocotools makes room for every step along it

_Size = tuple[int, int]


@dataclass(frozen=True)
class Instances:
    """What an instances JSON says of its photos.

    Attributes:
        path: The file.
        categories: The ids of its categories, rising.
        classes: Their names.
        names: The photos' file names without folder and suffix, by image id.
        labels: For every image id the sorted ids of the categories that some annotation has, crowds too.
    """

    path: Path
    categories: tuple[int, ...]
    classes: tuple[str, ...]
    names: dict[int, str]
    labels: dict[int, tuple[int, ...]]


def read_instances(path: Path) -> Instances:
    """Read photos, classes and image-level labels of an instances JSON; its outlines are not kept.

    Raises:
        LpcamError: the file is missing, damaged, or no instances JSON.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise LpcamError(f"cannot read {path} ({error.strerror}): get COCO's annotations, or check the path") from error
    return _read_once(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)  # the stages of a run open their split one after the other
def _read_once(path: Path, *_state: int) -> Instances:
    content = _load(path, lambda entry: (_integer(entry, "image_id"), _integer(entry, "category_id")))
    categories = _categories(content, path)
    names = {image: _photo_name(entry, path) for image, entry in _by_id(content, "images", path).items()}
    labels: dict[int, set[int]] = {image: set() for image in names}
    for number, entry in enumerate(_entries(content, "annotations", path)):
        image, category = _checked_annotation(entry, number, path, names, categories)[:2]
        labels[image].add(category)
    kept = {image: tuple(sorted(found)) for image, found in labels.items()}
    return Instances(path, tuple(categories), tuple(categories.values()), names, kept)


@dataclass(frozen=True)
class InstanceMasks:
    """The masks of an instances JSON, whose outlines are read when the first one is drawn.

    Where things overlap the smaller one is seen, by the JSON's ``area``; a crowd is seen where no single thing is.

    Attributes:
        path: The file.
        categories: The category id of every class; outlines of others are background.
    """

    path: Path
    categories: tuple[int, ...]

    def draw(self, image: int) -> NDArray[np.uint8]:
        """Draw the mask of an image: 0 background, k+1 class k, 255 crowd.

        Args:
            image: Id of the image.

        Returns:
            uint8 [H, W], of the size that the JSON says.

        Raises:
            LpcamError: pycocotools is missing, or the outlines cannot be drawn.
        """
        size, outlines = self._outlines[image]
        mask = np.zeros(size, np.uint8)
        for outline in sorted(outlines, key=lambda outline: (not outline.crowd, -outline.area)):
            try:
                inside = _inside(outline.shape, size)
            except (ValueError, TypeError, OverflowError) as error:
                raise _broken(self.path, f"image {image} has an outline that is none ({error})") from error
            mask[inside] = IGNORED if outline.crowd else self.categories.index(outline.category) + 1
        return mask

    @cached_property
    def _outlines(self) -> dict[int, tuple[_Size, list[_Outline]]]:
        content = _load(self.path, _annotation_with_outline)
        images = _by_id(content, "images", self.path)
        found: dict[int, tuple[_Size, list[_Outline]]] = {
            image: (_size(entry, self.path), []) for image, entry in images.items()
        }
        known = _categories(content, self.path)
        for number, entry in enumerate(_entries(content, "annotations", self.path)):
            image, category, outline = _checked_annotation(entry, number, self.path, found, known)
            if category in self.categories:
                found[image][1].append(outline)
        return found

    def __getstate__(self) -> dict[str, object]:  # what was read stays in its process
        return {"path": self.path, "categories": self.categories}


@dataclass(frozen=True)
class InstanceMask:
    """The mask of one image of an instances JSON.

    Attributes:
        masks: Of the whole file.
        image: Id of the image.
    """

    masks: InstanceMasks
    image: int

    def draw(self) -> NDArray[np.uint8]:
        """Draw it, see `InstanceMasks.draw`."""
        return self.masks.draw(self.image)

    def __str__(self) -> str:
        return f"the mask of image {self.image} in {self.masks.path}"


# ------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Outline:
    category: int
    crowd: bool
    area: float
    shape: Sequence[array[float]] | Mapping[str, Any]


def _load(path: Path, annotation: Callable[[dict[str, Any]], tuple[Any, ...]]) -> dict[str, Any]:
    """Read a JSON object; what bears a ``segmentation`` becomes a tuple as soon as it is read."""

    def compact(entry: dict[str, Any]) -> object:
        return annotation(entry) if "segmentation" in entry else entry

    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text, object_hook=compact, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from error
    if not isinstance(content, dict):
        raise _broken(path, "it is no JSON object")
    return content


def _refuse_constant(word: str) -> object:
    raise ValueError(f"it holds {word}, which is no number")


def _annotation_with_outline(entry: dict[str, Any]) -> tuple[int, int, _Outline]:
    image, category = _integer(entry, "image_id"), _integer(entry, "category_id")
    crowd, area = entry.get("iscrowd", 0), entry.get("area", 0)
    if crowd not in (0, 1) or not isinstance(area, int | float) or not abs(area) < _LARGEST_AREA:
        raise ValueError(f"an annotation of image {image} has iscrowd {crowd} and area {area}")
    return image, category, _Outline(category, bool(crowd), float(area), _packed(entry["segmentation"], image))


def _packed(segmentation: object, image: int) -> Sequence[array[float]] | Mapping[str, Any]:
    """Return polygons as arrays, a quarter of the size of lists; run lengths as they are."""
    if isinstance(segmentation, dict):
        return segmentation
    try:
        return [array("d", polygon) for polygon in segmentation]  # type: ignore[attr-defined]
    except TypeError:
        raise ValueError(f"the segmentation of an annotation of image {image} is neither polygons nor RLE") from None


def _categories(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Return class names by category id, rising."""
    found = _by_id(content, "categories", path)
    names = [entry.get("name") for entry in found.values()]
    if not found or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise _broken(path, "its categories have no names of their own")
    return {category: str(found[category]["name"]) for category in sorted(found)}


def _by_id(content: Mapping[str, Any], section: str, path: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for number, entry in enumerate(_entries(content, section, path)):
        if not isinstance(entry, dict) or not _is_integer(entry.get("id")):
            raise _broken(path, f"entry {number} of '{section}' has no id")
        if entry["id"] in found:
            raise _broken(path, f"'{section}' has id {entry['id']} twice")
        found[entry["id"]] = entry
    return found


def _entries(content: Mapping[str, Any], section: str, path: Path) -> list[Any]:
    entries = content.get(section)
    if not isinstance(entries, list):
        raise _broken(path, f"it has no list '{section}'")
    return entries


def _checked_annotation(
    entry: object, number: int, path: Path, images: Mapping[int, object], categories: Iterable[int]
) -> tuple[Any, ...]:
    if not isinstance(entry, tuple):
        raise _broken(path, f"entry {number} of 'annotations' has no segmentation")
    if entry[0] not in images:
        raise _broken(path, f"entry {number} of 'annotations' is of image {entry[0]}, which is not among its images")
    if entry[1] not in categories:
        raise _broken(path, f"entry {number} of 'annotations' is of category {entry[1]}, which is not among its own")
    return entry


def _photo_name(entry: Mapping[str, Any], path: Path) -> str:
    file_name = entry.get("file_name")
    if not isinstance(file_name, str):
        raise _broken(path, f"image {entry['id']} has no file_name")
    name = PurePosixPath(file_name).stem
    check_name(name, f"{path}, image {entry['id']}")
    return name


def _size(entry: Mapping[str, Any], path: Path) -> _Size:
    height, width = entry.get("height"), entry.get("width")
    if not (_is_integer(height) and _is_integer(width) and height > 0 and width > 0):
        raise _broken(path, f"image {entry['id']} has no height and width")
    if height * width > MAX_PIXELS:
        raise _broken(path, f"image {entry['id']} is {width}×{height}, more than {MAX_PIXELS} pixels")
    return height, width


def _integer(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if not _is_integer(value):
        raise ValueError(f"an annotation has no {name}")
    return value


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _broken(path: Path, reason: str) -> LpcamError:
    return LpcamError(f"{path} is no whole instances JSON ({reason}): get it again from its source")


# ------------------------------------------------------------------------------------------ drawing


def _inside(shape: Sequence[array[float]] | Mapping[str, Any], size: _Size) -> NDArray[np.bool_]:
    """Return the pixels of an outline: bool [H, W].

    Raises:
        ValueError: it is no outline of an image of that size.
    """
    if isinstance(shape, Mapping):
        return _of_runs(shape, size)
    for polygon in shape:
        _check_polygon(polygon, size)
    if not shape:
        return np.zeros(size, np.bool_)
    codec = _codec()
    runs = codec.merge(codec.frPyObjects([polygon.tolist() for polygon in shape], *size))
    return np.asarray(codec.decode(runs), np.bool_)


def _of_runs(shape: Mapping[str, Any], size: _Size) -> NDArray[np.bool_]:
    """Undo a run-length code: runs of pixels outside and inside by turns, column by column."""
    counts = shape.get("counts")
    if shape.get("size") != list(size):
        raise ValueError(f"run lengths of size {shape.get('size')} for an image of {list(size)}")
    if isinstance(counts, str):
        return np.asarray(_codec().decode({"size": list(size), "counts": counts.encode()}), np.bool_)
    if not isinstance(counts, list) or not all(_is_integer(count) and count >= 0 for count in counts):
        raise ValueError("run lengths that are not counts")
    if sum(counts) != math.prod(size):
        raise ValueError(f"run lengths of {sum(counts)} pixels for {math.prod(size)}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size, order="F")


def _check_polygon(polygon: array[float], size: _Size) -> None:
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"a polygon of {len(polygon)} numbers")
    corners = np.array(polygon).reshape(-1, 2)
    if not (np.abs(corners) <= 4 * max(size)).all():
        raise ValueError("a polygon far outside the image")
    if np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum() > _LONGEST_POLYGON:
        raise ValueError("a polygon whose line is longer than any outline")


def _codec() -> Any:
    try:
        return importlib.import_module("pycocotools.mask")
    except ImportError:
        raise LpcamError(
            "pycocotools draws COCO's masks from their outlines and is missing: pip install 'lpcam[coco]', "
            "or give masks as PNG by --masks"
        ) from None
