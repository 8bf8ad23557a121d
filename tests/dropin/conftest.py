"""What the drop-ins are tried on: a repository's folder, its photos, and checkpoints under its key names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from lpcam.backbones import load_classifier, mctformer, resnet38d
from lpcam.backbones.demo import build
from lpcam.dropin import knobs
from lpcam.views import view

State = dict[str, torch.Tensor]

SIZES = {"2007_000032": (48, 64), "2007_000039": (37, 53), "2008_000001": (48, 64), "2011_003276": (40, 40)}
LABELS = {"2007_000032": (0, 14), "2007_000039": (19,), "2008_000001": (14,), "2011_003276": (0, 14, 19)}
"""Twenty classes, of which seventeen have no photo; fewer photos than any progress line divides by."""


@dataclass(frozen=True)
class Place:
    """A user's folders: the repository's, from which its script is started, and the data set's."""

    home: Path
    voc: Path

    def list_of(self, name: str, lines: list[str]) -> str:
        """Write a list into voc12 and return its path as the repository writes it."""
        (self.home / "voc12" / name).write_text("".join(f"{line}\n" for line in lines))
        return f"voc12/{name}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A repository beside a VOC-like tree; the script is started in the repository."""
    place = Place(tmp_path / "repository", tmp_path / "VOC2012")
    (place.home / "voc12").mkdir(parents=True)
    (place.voc / "JPEGImages").mkdir(parents=True)
    for name in SIZES:
        Image.fromarray(pixels(name)).save(place.voc / "JPEGImages" / f"{name}.jpg")
    vectors = {int(name.replace("_", "")): np.zeros(20, np.float32) for name in SIZES}
    for name, labels in LABELS.items():
        vectors[int(name.replace("_", ""))][list(labels)] = 1
    np.save(place.home / "voc12/cls_labels.npy", vectors, allow_pickle=True)
    place.list_of("train_aug.txt", list(SIZES))
    for name in knobs.NAMES:
        monkeypatch.delenv(knobs.variable(name), raising=False)
    monkeypatch.chdir(place.home)
    return place


@pytest.fixture(scope="session")
def resnet50_state(tmp_path_factory) -> State:
    """Random tensors under the names of IRN's checkpoints, twenty classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = models.resnet50(weights=None).state_dict()
        head = torch.randn(20, 2048, 1, 1)
    trunk = {f"resnet50.{name}": tensor for name, tensor in trunk.items() if not name.startswith("fc.")}
    return {**trunk, "classifier.weight": head}


@pytest.fixture
def resnet38d_state() -> State:
    """Tensors under the names of PSA's checkpoints, twenty classes; half precision keeps the file small."""
    with torch.device("meta"):
        shapes = resnet38d.build("resnet38d").network.state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.ones(tensor.shape, dtype=torch.half) for name, tensor in shapes.items()}
    for name, tensor in state.items():
        if tensor.ndim == 4:
            bound = (3 / tensor[0].numel()) ** 0.5
            state[name] = torch.empty(tensor.shape, dtype=torch.half).uniform_(-bound, bound, generator=generator)
    return {**state, "fc8.weight": torch.randn(20, 4096, 1, 1, generator=generator).half()}


@pytest.fixture
def mctformer_state() -> State:
    """Random tensors under the names of MCTformer's checkpoints, twenty classes."""
    with torch.device("meta"):
        shapes = mctformer.build("mctformer").network.state_dict()
    generator = torch.Generator().manual_seed(0)
    trunk = {
        name.removeprefix("trunk.net."): torch.randn(tensor.shape, generator=generator) / tensor.shape[-1] ** 0.5
        for name, tensor in shapes.items()
    }
    return {**trunk, "head.weight": torch.randn(20, 384, 3, 3, generator=generator)}


@pytest.fixture(scope="session")
def small_state(tmp_path_factory) -> State:
    """Random tensors of the smallest architecture, twenty classes: what is tried here is not the network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = {**build("demo").network.state_dict(), "fc.weight": torch.zeros(20, 512)}
        state |= {name: torch.rand_like(tensor) - 0.5 for name, tensor in state.items() if name.endswith(".bias")}
    return with_seeing_head("demo", state, "fc.weight", tmp_path_factory.mktemp("weights"))


def with_seeing_head(arch: str, state: State, head: str, folder: Path) -> State:
    """Give a random network class weights under which some places of a photo are objects and others are not."""
    torch.save(state, folder / "blind.pth")
    net = load_classifier(arch, folder / "blind.pth")
    photo = view(pixels("2007_000032"), (96, 128), net.mean, net.std)
    features = net.features(photo[None])[0].flatten(1).T  # [M, C]
    mean = features.mean(dim=0)
    places = torch.arange(20) * len(features) // 20
    rows = features[places] - mean
    rows = rows - (rows @ mean / mean.square().sum())[:, None] * mean
    rows = 20 * rows / (rows.norm(dim=1, keepdim=True) * (features - mean).norm(dim=1).mean() + 1e-6)
    return {**state, head: rows.reshape(state[head].shape)}


def pixels(name: str) -> np.ndarray:
    """Return a photo of twelve coloured fields."""
    height, width = SIZES[name]
    fields = np.random.default_rng(int(name[-2:])).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(fields).resize((width, height), Image.Resampling.NEAREST))
