"""Runtimes: the same features, whatever carries the network out."""

from __future__ import annotations

import sys

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lpcam.backbones.classifier import Blueprint, Classifier
from lpcam.errors import LpcamError
from lpcam.runtime import networks_of
from tests.tiny import tiny_classifier


def convolutions(extra: nn.Module | None = None) -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), extra or nn.Conv2d(8, 16, 3, 2, 1))
    network[1].running_mean.uniform_(-1, 1)
    blueprint = Blueprint(network, ("0", "1", "2", "3"), "fc.weight", stride=4)
    return Classifier("convolutions", blueprint, "3", 4, torch.ones(2, 16), "0" * 64)


class Remembered(nn.Module):
    """A network that a tracer cannot follow: what it adds depends on the size in Python."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat([features, features + (1.0 if features.shape[2] > 16 else 0.0)], dim=1)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_openvino_computes_the_same_at_every_size_and_batch(precision, tolerance):
    pytest.importorskip("openvino")
    net = convolutions()
    network = networks_of(net, "openvino", precision).features
    for shape in ((1, 3, 40, 56), (4, 3, 33, 71)):
        images = torch.randn(shape).to(memory_format=torch.channels_last)
        expected, found = net.features(images), network(images)
        assert found.dtype == torch.float32
        assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def test_openvino_keeps_what_it_gave_before():
    pytest.importorskip("openvino")
    network = networks_of(convolutions(), "openvino", "float32").features
    first = network(torch.ones(1, 3, 32, 32))
    kept = first.clone()
    network(torch.zeros(1, 3, 32, 32))
    assert torch.equal(first, kept)


def test_a_network_that_openvino_computes_differently_is_refused():
    pytest.importorskip("openvino")
    with pytest.raises(LpcamError, match="OpenVINO cannot carry out 'convolutions' as torch does: leave --runtime out"):
        networks_of(convolutions(Remembered()), "openvino", "float32")


def test_a_machine_without_openvino_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(LpcamError, match="pip install 'lpcam\\[openvino\\]'"):
        networks_of(convolutions(), "openvino", "float32")


def test_openvino_has_no_float16_on_the_cpu():
    with pytest.raises(LpcamError, match="in float32 or bfloat16, not on cpu in float16: leave --runtime out"):
        networks_of(convolutions(), "openvino", "float16")


def test_compile_goes_through_torch_compile_with_sizes_left_open(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: compiled.append(dynamic) or call)
    network = networks_of(tiny_classifier([[1.0, 0, 0]]), "compile", "float32").features
    assert compiled == [True, True]  # features and levels
    assert network(torch.ones(1, 3, 8, 12)).tolist() == [[[[1, 1, 1], [1, 1, 1]]] * 3]


def test_compile_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LpcamError, match="--compile needs a C\\+\\+ compiler on the CPU: install g\\+\\+"):
        networks_of(tiny_classifier([[1.0, 0, 0]]), "compile", "float32")


def test_levels_are_computed_in_the_same_precision_as_features():
    net, images = convolutions(), torch.randn(1, 3, 32, 48)
    networks = networks_of(net, "torch", "bfloat16")
    assert networks.levels(images)[-1].dtype == torch.bfloat16
    assert torch.equal(networks.levels(images)[-1], networks.features(images))


def test_an_unknown_runtime_is_named_with_the_nearest():
    with pytest.raises(LpcamError, match="openvino"):
        networks_of(tiny_classifier([[1.0, 0, 0]]), "openvin", "float32")


@pytest.mark.parametrize(
    ("words", "runtime"),
    [
        (["--compile"], "compile"),
        (["--runtime", "openvino"], "openvino"),
        (["--runtime", "torch"], "torch"),
        ([], "fused"),
    ],
)
def test_the_command_line_names_the_runtime(words, runtime, monkeypatch, tmp_path):
    from lpcam_cli.main import main

    seen = []
    monkeypatch.setattr(
        "lpcam.corridor.generate", lambda workspace, execution, **_: seen.append(execution.runtime) or exit_quietly()
    )
    CliRunner().invoke(main, ["generate", "-w", str(tmp_path), *words])
    assert seen == [runtime]


def exit_quietly() -> None:
    raise LpcamError("seen")
