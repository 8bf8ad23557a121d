"""Small data sets to open."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

VocTree = Callable[..., Path]


def save_photo(path: Path, size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)


def save_mask(path: Path, values: Iterable[int], size: tuple[int, int] = (6, 4)) -> None:
    """Write a palette PNG whose first pixels have the given values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    indices = np.zeros(size[::-1], np.uint8)
    listed = list(values)
    indices.reshape(-1)[: len(listed)] = listed
    mask = Image.fromarray(indices)
    mask.putpalette([255 - value // 3 for value in range(768)])
    mask.save(path)


def save_annotation(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{body}</annotation>", encoding="utf-8")


@pytest.fixture
def voc_tree(tmp_path: Path) -> VocTree:
    """Make a VOC tree: ``voc_tree(["a", "b"], masks={"a": [8, 12]}, split="train")``; values are mask values."""

    def make(names: Iterable[str], masks: dict[str, list[int]] | None = None, split: str = "train") -> Path:
        root = tmp_path / "voc"
        for name in names:
            save_photo(root / "JPEGImages" / f"{name}.jpg")
        for name, values in (masks or {}).items():
            save_mask(root / "SegmentationClass" / f"{name}.png", values)
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        return root

    return make
