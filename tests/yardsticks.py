"""Synthetic photos in place of the real ones that `benchmarks.real_photos` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import photos, real_photos


def write_yardsticks(root: Path) -> None:
    """Write both yardsticks and the classifier beside them into the folder that LPCAM_REAL_DATA names."""
    data = root / "data"
    for folder in ("voc_animals", "coco20"):
        (data / folder).mkdir(parents=True)
        (data / folder / "labels.csv").write_text("name,classes\n")
        write_yardstick(data / folder, "train", 4, seed=0)
    write_yardstick(data / "voc_animals", "aug", 3, seed=1)
    (data / "weights").mkdir()
    photos.write_classifier(real_photos.ARCH, data / "weights" / real_photos.WEIGHTS)


def write_yardstick(root: Path, split: str, count: int, seed: int) -> None:
    """Write bright blocks of the classes cat (7) and dog (11)."""
    names = [f"{split}_{index}" for index in range(count)]
    random = np.random.default_rng(seed)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        mask = np.zeros((48, 64), np.uint8)
        mask[8:40, 8:40] = (8, 12)[index % 2]
        mask[0] = 255
        pixels = random.integers(0, 80, (48, 64, 3), dtype=np.uint8) + mask[..., None] % 255 * 8
        Image.fromarray(pixels.astype(np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    with (root / "labels.csv").open("a") as file:
        file.writelines(f"{name},{('cat', 'dog')[index % 2]}\n" for index, name in enumerate(names))
