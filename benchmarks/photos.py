"""Synthetic photos in VOC layout, random classifiers and prototypes, where speed is measured and not content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import models  # type: ignore[import-untyped]

from lpcam.methods.lpcam import fold
from lpcam.prototypes import Centres, Prototypes, Provenance
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import FeatureStore
from lpcam.workspace import Workspace

VOC_SIZE = (375, 500)
CLASSES = 20


def write_photos(
    root: Path,
    count: int,
    *,
    size: tuple[int, int] = VOC_SIZE,
    spread: float = 0.0,
    classes: int = CLASSES,
    seed: int = 0,
) -> DataSource:
    """Write JPEG photos, a list and labels; photo i has class i mod ``classes``, every third one the next too.

    Args:
        root: Folder to be made.
        count: Number of photos.
        size: (H, W), the largest.
        spread: Share of a side that is taken off at most, at random; with 0 all photos are of one size.
        classes: How many of the 20 classes occur.
        seed: Of the pixels and sizes.
    """
    random = np.random.default_rng(seed)
    names = [f"2000_{index:06d}" for index in range(count)]
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        height, width = (round(side * (1 - spread * random.random())) for side in size) if spread else size
        _picture(random, (height, width)).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
    lines = [f"{name},{_labels_of(index, classes)}" for index, name in enumerate(names)]
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (root / "labels.csv").write_text("\n".join(["name,classes", *lines]) + "\n", encoding="utf-8")
    return DataSource("voc", root, "train", labels=root / "labels.csv")


def write_classifier(
    arch: str, path: Path, *, stride: int = 16, seed: int = 0, classes: int = CLASSES
) -> ClassifierSource:
    """Write a checkpoint of random weights, batch norm set by noise so that the features keep a healthy scale.

    Args:
        arch: ``resnet50`` or ``torchvision/NAME``.
        path: The file.
        stride: Output stride it is to be loaded with.
        seed: Of the weights.
        classes: That it tells apart.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = models.get_model(arch.removeprefix("torchvision/"), weights=None, num_classes=classes)
        with torch.no_grad():
            network.train()
            for _ in range(8):
                network(torch.randn(2, 3, 96, 96))
    torch.save(network.state_dict(), path)
    return ClassifierSource(arch, path, stride=stride)


def write_prototypes(workspace: Workspace, classes: int, context: int) -> dict[int, tuple[Tensor, Tensor]]:
    """Write a prototype file of stored local features that a class's own weights rate high, and low.

    Not clustered, because random weights leave some classes without a position of positive CAM; less their mean,
    because features of random weights are nearly parallel, and the contrast of their cosines would be rounding. The
    half that points along the mean is the class's, so that no map is zero everywhere.

    Args:
        workspace: Holds a feature store.
        classes: Class prototypes of every class.
        context: Context prototypes of every class.

    Returns:
        The class prototypes and context prototypes of every class.
    """
    store = FeatureStore(workspace.features)
    features = torch.cat([torch.as_tensor(rows).float() for rows in store.rows(store.photos)])
    mean = features.mean(dim=0)
    features -= mean
    made = []
    for weights in store.class_weights():
        halves = features[(features @ weights).argsort(descending=True)].tensor_split(2)
        high, low = halves if mean @ fold(*halves) > 0 else reversed(halves)
        made.append(_centres(_spread(high, classes), _spread(low, context)))
    known = store.manifest.description
    provenance = Provenance(
        classes=known.classes,
        weights_sha256=known.weights_sha256,
        layer=known.layer,
        stride=known.stride,
        features=known.fingerprint,
    )
    Prototypes(tuple(made), provenance).save(workspace.prototypes)
    return {label: (one.class_prototypes, one.context_prototypes) for label, one in enumerate(made)}


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


def _spread(rows: Tensor, count: int) -> Tensor:
    """Return ``count`` rows at equal distances."""
    return rows[torch.linspace(0, len(rows) - 1, count).long()]


def _centres(classes: Tensor, context: Tensor) -> Centres:
    """Return centres that are all selected."""
    vectors = torch.cat([classes, context])
    count = len(vectors)
    return Centres(
        vectors=vectors,
        is_object=torch.arange(count) < len(classes),
        selected=torch.ones(count, dtype=torch.bool),
        scores=torch.ones(count),
        sizes=torch.ones(count, dtype=torch.long),
        object_vectors=len(classes),
        rest_vectors=len(context),
        fallback=False,
    )
