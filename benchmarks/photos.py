"""Synthetic photos in VOC layout and classifiers with random weights, where speed is measured and not content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import models  # type: ignore[import-untyped]

from lpcam.sources import ClassifierSource, DataSource

VOC_SIZE = (375, 500)
CLASSES = 20


def write_photos(
    root: Path, count: int, *, size: tuple[int, int] = VOC_SIZE, classes: int = CLASSES, seed: int = 0
) -> DataSource:
    """Write JPEG photos, a list and labels; photo i has class i mod ``classes``, every third one the next too.

    Args:
        root: Folder to be made.
        count: Number of photos.
        size: (H, W).
        classes: How many of the 20 classes occur.
        seed: Of the pixels.
    """
    random = np.random.default_rng(seed)
    names = [f"2000_{index:06d}" for index in range(count)]
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        _picture(random, size).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
    lines = [f"{name},{_labels_of(index, classes)}" for index, name in enumerate(names)]
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (root / "labels.csv").write_text("\n".join(["name,classes", *lines]) + "\n", encoding="utf-8")
    return DataSource("voc", root, "train", labels=root / "labels.csv")


def write_classifier(arch: str, path: Path, *, stride: int = 16, seed: int = 0) -> ClassifierSource:
    """Write a checkpoint of random weights, batch norm set by noise so that the features keep a healthy scale.

    Args:
        arch: ``resnet50`` or ``torchvision/NAME``.
        path: The file.
        stride: Output stride it is to be loaded with.
        seed: Of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = models.get_model(arch.removeprefix("torchvision/"), weights=None, num_classes=CLASSES)
        with torch.no_grad():
            network.train()
            for _ in range(8):
                network(torch.randn(2, 3, 96, 96))
    torch.save(network.state_dict(), path)
    return ClassifierSource(arch, path, stride=stride)


def _picture(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Soft blobs with fine grain: compresses about as a photo does."""
    blobs = Image.fromarray(random.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize(
        (size[1], size[0]), Image.Resampling.BICUBIC
    )
    grain = random.normal(0, 12, (*size, 3))
    return Image.fromarray(np.clip(np.asarray(blobs) + grain, 0, 255).astype(np.uint8))


def _labels_of(index: int, classes: int) -> str:
    first = index % classes
    return f"{first};{(first + 1) % classes}" if index % 3 == 0 else str(first)
