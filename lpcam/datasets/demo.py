"""The demo data set: painted scenes with exact masks, written as a VOC tree.

Everything is made from the seed: no download, no randomness of its own. What the scenes show is told in
`lpcam.datasets.demo_scenes`.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lpcam.datasets.demo_scenes import CLASSES, paint_scene
from lpcam.datasets.voc import open_voc
from lpcam.errors import LpcamError
from lpcam.files import write_atomically
from lpcam.records import DataSplit, Progress, silent

SPLITS = ("train", "val")

TRAIN_PHOTOS = 180
VAL_PHOTOS = 36

_PAIRS = (
    ("cow", "sheep"),
    ("dog", "sheep"),
    ("cow", "dog"),
    ("bird", "dog"),
    ("bird", "sheep"),
    ("bird", "boat"),
    ("cow", "train"),
    ("sheep", "train"),
)
_JPEG_QUALITY = 93


def write_demo(
    root: Path,
    *,
    seed: int = 0,
    train: int = TRAIN_PHOTOS,
    val: int = VAL_PHOTOS,
    progress: Progress = silent,
) -> None:
    """Paint the demo data set into a folder, in the layout of PASCAL VOC.

    JPEGImages/*.jpg, SegmentationClass/*.png (palette), ImageSets/Segmentation/{train,val}.txt, labels.csv and
    classes.txt. About one photo in eight shows an empty landscape, one in six two classes. Photo i of a split depends
    only on seed, split and i, so a smaller data set is the beginning of a larger one.

    Args:
        root: The folder; files of the same names are replaced.
        seed: Same seed, same bytes.
        train: Number of training photos.
        val: Number of photos held out.
        progress: Told after every photo, stage ``paint``.

    Raises:
        LpcamError: OpenCV is missing, or the folder cannot be written to.
        ValueError: a negative number of photos.
    """
    if min(train, val) < 0:
        raise ValueError(f"expected numbers of photos of 0 or more, got train={train}, val={val}")
    rows: list[tuple[str, str]] = []
    for split, count in zip(SPLITS, (train, val), strict=True):
        names = [f"{split}_{index:04d}" for index in range(count)]
        for index, name in enumerate(names):
            progress("paint", len(rows), train + val)
            rows.append((name, _write_scene(root, name, seed, SPLITS.index(split), index)))
        _write_text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    _write_text(root / "labels.csv", _csv([("name", "classes"), *rows]))
    _write_text(root / "classes.txt", "".join(f"{name}\n" for name in CLASSES))
    progress("paint", len(rows), train + val)


def open_demo(
    root: Path,
    split: str,
    *,
    labels: Path | None = None,
    classes: Path | None = None,
    masks: Path | None = None,
) -> DataSplit:
    """Open a split of the demo data set, as `lpcam.datasets.voc.open_voc` does.

    Args:
        root: The folder `write_demo` filled.
        split: ``train`` or ``val``.
        labels: In place of ``labels.csv``.
        classes: In place of ``classes.txt``.
        masks: In place of ``SegmentationClass``.

    Raises:
        LpcamError: the folder holds no demo, or what ``open_voc`` raises.
    """
    labels, classes = labels or root / "labels.csv", classes or root / "classes.txt"
    if not (labels.is_file() and classes.is_file()):
        raise LpcamError(f"{root} holds no demo data set (no labels.csv or classes.txt): run `lpcam demo` to make one")
    opened = open_voc(root, split, labels=labels, classes=classes, masks=masks)
    return replace(opened, dataset="demo")


def cast_of(rng: np.random.Generator, index: int) -> tuple[str, ...]:
    """Decide the classes of a scene: every class in turn, but sometimes a pair, and sometimes nobody.

    Args:
        rng: Of the scene.
        index: Of the scene in its split.

    Returns:
        None, one or two names of ``CLASSES``.
    """
    drawn = rng.random()
    if drawn < 0.16:
        return _PAIRS[int(rng.integers(len(_PAIRS)))]
    return () if drawn < 0.28 else (CLASSES[index % len(CLASSES)],)


def _write_scene(root: Path, name: str, seed: int, split: int, index: int) -> str:
    """Paint one scene to disk and return its labels as the CSV has them."""
    rng = np.random.default_rng([seed, split, index])
    photo, mask = paint_scene(rng, cast_of(rng, index))
    indexed = Image.fromarray(mask)
    indexed.putpalette(_palette())
    _write_image(root / "JPEGImages" / f"{name}.jpg", Image.fromarray(photo), quality=_JPEG_QUALITY)
    _write_image(root / "SegmentationClass" / f"{name}.png", indexed)
    return ";".join(CLASSES[value - 1] for value in np.unique(mask).tolist() if value)


def _write_image(path: Path, image: Image.Image, *, quality: int = 0) -> None:
    form = "JPEG" if quality else "PNG"
    options = {"quality": quality, "subsampling": 0} if quality else {"optimize": False}
    write_atomically(path, lambda partial: image.save(partial, format=form, **options))


def _palette() -> list[int]:
    """Return VOC's colours: the bits of the index spread over red, green and blue."""
    index = np.arange(256)
    table = np.zeros((256, 3), np.int64)
    for bit in range(8):
        table[:, bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return [int(value) for value in table.reshape(-1)]


def _csv(rows: list[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda partial: _write(partial, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
