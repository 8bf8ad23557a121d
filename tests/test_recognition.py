"""recognition: every repository's checkpoint is known by its names, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torchvision import models

from lpcam.backbones import loading
from lpcam.backbones.recognition import recognise
from lpcam.errors import LpcamError

State = dict[str, torch.Tensor]


def shapes(shaped: Mapping[str, torch.Tensor]) -> State:
    """Return tensors of those names and shapes that take no memory: one number, repeated."""
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in shaped.items()}


@pytest.fixture
def held(monkeypatch, tmp_path):
    """Make a path be a checkpoint of some tensors, without writing them."""

    def hold(state: State):
        monkeypatch.setattr("lpcam.backbones.recognition.read_checkpoint", lambda _: state)
        return tmp_path / "held.pth"

    return hold


def torchvision_state(name: str) -> State:
    with torch.device("meta"):
        return shapes(models.get_model(name, weights=None).state_dict())


def irn_names(state: State) -> State:
    """Return tensors under all the prefixes an IRN checkpoint has them."""
    trunk = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    stem = {"conv1": "stage1.0", "bn1": "stage1.1", "layer1": "stage1.4"}
    stages = {}
    for name, tensor in trunk.items():
        first, _, rest = name.partition(".")
        stage = stem.get(first, f"stage{first[-1]}.0")
        stages |= {f"resnet50.{name}": tensor, f"{stage}.{rest}": tensor}
    return {
        **stages,
        "classifier.weight": torch.zeros(20, 2048, 1, 1),
        "newly_added.0.weight": torch.zeros(20, 2048, 1, 1),
    }


def own_state(arch: str) -> State:
    return shapes(loading._blueprint(arch).network.state_dict())


@pytest.mark.parametrize("arch", loading.own_architectures())
def test_an_own_architecture_is_known_by_its_names(arch, held):
    assert recognise(held(own_state(arch))) == arch


def test_irns_checkpoint_and_a_parallel_one(held):
    state = torchvision_state("resnet50")
    assert recognise(held(irn_names(state))) == "resnet50"
    assert recognise(held({f"module.{name}": tensor for name, tensor in irn_names(state).items()})) == "resnet50"
    assert recognise(held(state)) == "resnet50"  # the same network


def test_torchvision_is_not_asked_where_an_own_architecture_fits(held, monkeypatch):
    monkeypatch.delattr("lpcam.backbones.recognition.torchvision_names")
    assert recognise(held(own_state("resnet50"))) == "resnet50"


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_other_resnets_are_not_taken_for_it(name, held):
    assert recognise(held(torchvision_state(name))) == f"torchvision/{name}"


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("layer3.5.conv2.weight"),
        lambda state: state.update({"layer3.6.conv2.weight": torch.zeros(3)}),
        lambda state: state.update({"layer4.2.conv3.weight": torch.zeros(2048, 512, 3, 3)}),
    ],
    ids=["lacks", "has more", "another shape"],
)
def test_nothing_is_guessed(change, held):
    state = torchvision_state("resnet50")
    change(state)
    with pytest.raises(
        LpcamError, match=r"held\.pth, which begins with 'bn1.bias' \(tried .*resnet50.*name it with --arch"
    ):
        recognise(held(state))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(LpcamError, match="does not exist"):
        recognise(tmp_path / "no.pth")
