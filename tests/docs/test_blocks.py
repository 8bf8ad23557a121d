"""README, tutorial and how-tos: every command and every line of Python runs, in the order of the page."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18, resnet50

import lpcam.demo
from benchmarks.blocks import blocks
from lpcam.backbones import timm_nets
from lpcam.backbones.demo import build
from lpcam.training.demo import DemoRecipe
from tests.conftest import make_voc
from tests.docs.following import ROOT, UNRUN, Follower

README = ROOT / "README.md"
HOW_TOS = [*sorted((ROOT / "docs/howto").glob("*.md")), ROOT / "docs/terminal.md"]
SIZES = {f"2007_{index:06d}": size for index, size in enumerate([(40, 56), (44, 40), (40, 56), (40, 56), (44, 40)])}
NAMES = tuple(SIZES)
CHECKPOINTS = {"res50_cam.pth": 20, "res38_cls.pth": 20, "mct.pth": 20, "mine.pth": 2}
"""Classifiers that pages name, and how many classes they have."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of those checkpoints, of the demo's small network, random."""
    folder = tmp_path_factory.mktemp("weights")
    for name, classes in CHECKPOINTS.items():
        head = torch.rand(classes, 512, generator=torch.Generator().manual_seed(0)) - 0.4
        torch.save({**_seeing(build("demo").network.state_dict()), "fc.weight": head}, folder / name)
    return folder


@pytest.fixture
def place(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder, with what pages take for granted, small or random; ImageNet's weights are random too."""
    make_voc(tmp_path / "VOC2012", [SIZES[name] for name in NAMES])
    labels = {name: np.eye(20, dtype=np.float32)[index % 2] for index, name in enumerate(NAMES)}
    np.save(tmp_path / "cls_labels.npy", labels, allow_pickle=True)
    (tmp_path / "voc12").mkdir()
    (tmp_path / "voc12/train_aug.txt").write_text("\n".join(NAMES))
    np.save(tmp_path / "voc12/cls_labels.npy", labels, allow_pickle=True)
    np.save(tmp_path / "text.npy", np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32))
    for name in NAMES:
        _draw(tmp_path / f"saliency/{name}.png", SIZES[name], 255)
    for name in "abc":
        _draw(tmp_path / f"photos/{name}.jpg", (48, 64, 3), 255)
        _draw(tmp_path / f"masks/{name}.png", (48, 64), 3)
    for path in weights.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(timm_nets, "_pretrained_tensors", _unlearned)
    return tmp_path


def _draw(path: Path, shape: tuple[int, ...], values: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, values, shape, dtype=np.uint8)).save(path)


def _unlearned(name: str) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(timm_nets._create(name, pretrained=False).state_dict())


def _seeing(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights under which a network that was not trained sees something."""
    generator = torch.Generator().manual_seed(0)
    biases = {name: torch.rand(one.shape, generator=generator) for name, one in state.items() if name.endswith("bias")}
    return {**state, **biases}


def test_the_readme(place, monkeypatch, capsys):
    (place / "res50_cam.pth").unlink()
    torch.save(_irn_checkpoint(), place / "res50_cam.pth")
    (place / "VOC2012/ImageSets/Segmentation/train.txt").write_text("\n".join(NAMES[:2]))
    images = torch.rand(2, 3, 64, 64)
    names = {"model": resnet18(num_classes=20), "loader": [(images, [[11], [3, 14]])], "images": images}
    Follower(README, place, monkeypatch, names, stand_ins={}).follow()
    for name in NAMES[:2]:
        seed = np.load(place / f"lpcam_work/seeds/lpcam/irn/{name}.npy", allow_pickle=True).item()
        assert set(seed) == {"keys", "cam", "high_res"}
    assert [tuple(maps.shape) for maps in names["maps"]] == [(1, 64, 64), (2, 64, 64)]
    assert "miou" in capsys.readouterr().out


def _irn_checkpoint() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state, weight = resnet50(num_classes=20).state_dict(), torch.rand(20, 2048, 1, 1)
    trunk = {f"resnet50.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}
    return {**trunk, "classifier.weight": weight}


def test_the_tutorial(tmp_path, monkeypatch, capsys):
    small = partial(lpcam.demo.prepare_demo, train=16, val=6, recipe=DemoRecipe(epochs=2))
    monkeypatch.setattr(lpcam.demo, "prepare_demo", small)
    Follower(ROOT / "docs/tutorial.md", tmp_path, monkeypatch, {}).follow()
    assert len(list((tmp_path / "first/psa").glob("*.npy"))) == 16
    assert "tensor([0]) torch.Size([1, " in capsys.readouterr().out


@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_a_how_to(page, place, monkeypatch, request):
    text = page.read_text(encoding="utf-8")
    if "--engine ray" in text:
        request.getfixturevalue("two_ray_cpus")
    if "--arch timm/" in text:
        pytest.importorskip("timm", reason="needs the timm extra")
    follower = Follower(page, place, monkeypatch, {})
    follower.follow()
    assert follower.ran, "it ends in nothing that runs"


def test_what_is_not_run_is_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in (README, ROOT / "docs/tutorial.md", *HOW_TOS))
    commands = [command for block in blocks(text) if block.is_shell for command in block.commands]
    assert [pattern for pattern in UNRUN if not any(re.fullmatch(pattern, command) for command in commands)] == []
