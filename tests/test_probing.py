"""probing: shapes by hand and by the oracle of real photos; the network is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lpcam.backbones import probing
from lpcam.backbones.classifier import stages_up_to
from lpcam.backbones.loading import untrained
from lpcam.backbones.probing import shapes_after


class Ambiguous(nn.Module):
    """What many transformers do: of no images at all nobody can tell how many places there are."""

    def forward(self, images):
        return images.reshape(len(images), -1, 4)


class Broken(nn.Module):
    def forward(self, images):
        raise ValueError(f"{len(images)} on {images.device}")


def test_shapes_by_hand():
    stages = [nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4).eval(), nn.MaxPool2d(2), nn.Flatten(2)]
    assert shapes_after(stages, (3, 11, 9)) == [(4, 5, 4), (4, 5, 4), (4, 2, 2), (4, 4)]


@torch.no_grad()
@pytest.mark.parametrize("arch", ["demo", "mctformer", "resnet50", "resnet38d", "torchvision/swin_t"])
def test_an_empty_batch_says_what_an_image_does(arch, monkeypatch):
    blueprint, _ = untrained(arch)
    stages = stages_up_to(blueprint, blueprint.stages[-1])
    real = [torch.empty(1, 3, 64, 96, device="meta")]
    for stage in stages:
        real.append(stage(real[-1]))
    monkeypatch.setattr(probing, "_shapes", _once(probing._shapes))
    assert shapes_after(stages, (3, 64, 96)) == [tuple(grid.shape[1:]) for grid in real[1:]]


def test_a_network_that_takes_no_empty_batch_is_asked_on_the_meta_device():
    assert shapes_after([nn.Conv2d(3, 4, 2, 2), Ambiguous()], (3, 8, 6)) == [(4, 4, 3), (12, 4)]


def test_a_network_that_is_broken_says_so():
    with pytest.raises(ValueError, match="1 on meta"):
        shapes_after([Broken()], (3, 8, 6))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_network_is_left_as_it_was(device):
    stage = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4)).to(device).eval()
    before, state = dict(stage.named_parameters()), copy.deepcopy(stage.state_dict())
    shapes_after([stage], (3, 8, 6))
    assert all(parameter is before[name] for name, parameter in stage.named_parameters())
    assert {tensor.device.type for tensor in stage.state_dict().values()} == {device}
    if device == "cpu":
        assert all(torch.equal(tensor, state[name]) for name, tensor in stage.state_dict().items())


def test_indices_in_buffers_stay_indices(monkeypatch):
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("index", torch.tensor([0, 1, 1]))
            self.register_buffer("biases", torch.ones(2))  # as Swin's, without a batch

        def forward(self, images):
            return images + self.biases[self.index].sum()

    for _ in range(20):  # memory that is not cleared would hold anything
        with monkeypatch.context() as patch:
            patch.setattr(probing, "_shapes", _once(probing._shapes))
            assert shapes_after([Table()], (3, 8, 6)) == [(3, 8, 6)]


def _once(call):
    """Let the first call through and refuse another."""
    calls = []

    def through(*arguments):
        calls.append(arguments)
        assert len(calls) == 1, "the empty batch was not enough"
        return call(*arguments)

    return through
