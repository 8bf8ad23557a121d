"""Runtimes: the same features, whatever carries the network out."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lpcam import corridor
from lpcam.backbones import load_classifier, load_trunk
from lpcam.backbones.classifier import Blueprint, Classifier
from lpcam.errors import LpcamError
from lpcam.records import Execution
from lpcam.runtime import network_of
from lpcam.runtime.mnn import _Network
from lpcam.runtime.stdout import stdout_of_c_logged
from lpcam.workspace import Workspace
from tests.tiny import tiny_classifier

needs_mnn = pytest.mark.skipif(
    not all(map(find_spec, ("MNN", "onnx"))), reason="MNN is not installed: pip install 'lpcam[mnn]'"
)


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
    network = network_of(net, "openvino", precision)
    for shape in ((1, 3, 40, 56), (4, 3, 33, 71)):
        images = torch.randn(shape).to(memory_format=torch.channels_last)
        expected, found = net.features(images), network(images)
        assert found.dtype == torch.float32
        assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def test_openvino_keeps_what_it_gave_before():
    pytest.importorskip("openvino")
    network = network_of(convolutions(), "openvino", "float32")
    first = network(torch.ones(1, 3, 32, 32))
    kept = first.clone()
    network(torch.zeros(1, 3, 32, 32))
    assert torch.equal(first, kept)


def test_a_network_that_openvino_computes_differently_is_refused():
    pytest.importorskip("openvino")
    with pytest.raises(LpcamError, match="OpenVINO cannot carry out 'convolutions' as torch does: leave --runtime out"):
        network_of(convolutions(Remembered()), "openvino", "float32")


def test_a_machine_without_openvino_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(LpcamError, match="pip install 'lpcam\\[openvino\\]'"):
        network_of(convolutions(), "openvino", "float32")


def test_openvino_has_no_float16_on_the_cpu():
    with pytest.raises(LpcamError, match="in float32 or bfloat16, not on cpu in float16: leave --runtime out"):
        network_of(convolutions(), "openvino", "float16")


@pytest.fixture(params=["demo", "torchvision/mobilenet_v2"])
def net(request, classifier, tmp_path) -> Classifier:
    """A classifier of random weights, channels last as `lpcam.forward` has it."""
    if request.param == "demo":
        return classifier.load(2, "cpu").to(memory_format=torch.channels_last)
    trunk = load_trunk(request.param, None)
    torch.save(trunk.checkpoint(torch.ones(2, trunk.channels)), tmp_path / "weights.pth")
    return load_classifier(request.param, tmp_path / "weights.pth").to(memory_format=torch.channels_last)


def error(net: Classifier, found: torch.Tensor, images: torch.Tensor) -> float:
    """Return the largest difference to torch's features, in those of the largest."""
    expected = net.features(images)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    return float((found - expected).abs().max() / expected.abs().max())


@needs_mnn
def test_mnn_computes_the_same_at_every_size_and_batch(net):
    network = network_of(net, "mnn", "float32")
    for shape in ((1, 3, 40, 56), (2, 3, 33, 71), (6, 3, 65, 47), (1, 3, 40, 56)):
        for images in (torch.randn(shape).to(memory_format=torch.channels_last), torch.randn(shape).flip(3)):
            assert error(net, network(images), images) <= 1e-4


@needs_mnn
def test_mnn_reads_images_that_are_not_contiguous():
    net = convolutions()
    images = torch.randn(4, 40, 3, 56).transpose(1, 2)[::2, :, 3:, ::2]
    assert error(net, network_of(net, "mnn", "float32")(images), images) <= 1e-4


@needs_mnn
def test_mnn_keeps_what_it_gave_before():
    network = network_of(convolutions(), "mnn", "float32")
    first = network(torch.ones(1, 3, 32, 32))
    kept = first.clone()
    for side in (32, 32, 64, 32):
        network(torch.zeros(1, 3, side, side))
    assert torch.equal(first, kept)


@needs_mnn
def test_mnn_serves_threads_of_different_sizes_in_turn():
    net = convolutions()
    network = network_of(net, "mnn", "float32")
    errors = []

    def work(side: int) -> None:
        for number in range(20):
            images = torch.randn(1 + number % 2, 3, side, 2 * side + 1)
            errors.append(error(net, network(images), images))

    threads = [threading.Thread(target=work, args=(side,)) for side in (32, 45)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 40
    assert max(errors) <= 1e-4


@needs_mnn
def test_mnn_computes_in_as_many_threads_as_torch(monkeypatch):
    import MNN as mnn  # noqa: N811

    schedules, create = [], mnn.nn.create_runtime_manager
    monkeypatch.setattr(mnn.nn, "create_runtime_manager", lambda given: schedules.extend(given) or create(given))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    network_of(convolutions(), "mnn", "float32")
    assert [schedule["numThread"] for schedule in schedules] == [3]


@needs_mnn
def test_mnn_prints_nothing_and_leaves_nothing(monkeypatch, tmp_path, capfd):
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").chmod(0o500)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before = (tmp_path / "here").stat().st_mtime_ns
    network = network_of(convolutions(), "mnn", "float32")
    network(torch.ones(1, 3, 32, 32))
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "temporary"]
    assert (tmp_path / "here").stat().st_mtime_ns == before  # nor was anything written and removed
    assert "MNN.tools" not in sys.modules  # it installs a package when it is imported


@needs_mnn
def test_a_network_that_mnn_computes_differently_is_refused():
    with pytest.raises(LpcamError, match="MNN cannot carry out 'convolutions' as torch does: leave --runtime out"):
        network_of(convolutions(Remembered()), "mnn", "float32")


class Untraced(nn.Module):
    """A network that a tracer cannot go through at all, as ViT's position embeddings are."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * round(features.shape[2] / features.sum().new_tensor(2))


@needs_mnn
def test_a_network_that_cannot_be_written_as_onnx_is_refused(monkeypatch):
    with pytest.raises(LpcamError, match="MNN cannot carry out 'convolutions' as torch does: leave --runtime out"):
        network_of(convolutions(Untraced()), "mnn", "float32")


@needs_mnn
def test_a_network_that_the_converter_of_mnn_gives_up_is_refused(monkeypatch):
    monkeypatch.setattr("lpcam.runtime.mnn._CONVERT", "raise SystemExit(3)")
    with pytest.raises(LpcamError, match="MNN cannot carry out 'convolutions' as torch does: leave --runtime out"):
        network_of(convolutions(), "mnn", "float32")


@pytest.mark.parametrize("absent", ["MNN", "_tools", "onnx"])
def test_a_machine_without_mnn_says_what_to_install(absent, monkeypatch):
    monkeypatch.setattr("lpcam.runtime.mnn.find_spec", lambda name: None if name == absent else "there")
    with pytest.raises(LpcamError, match="pip install 'lpcam\\[mnn\\]', or leave --runtime out"):
        network_of(convolutions(), "mnn", "float32")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mnn_has_float32_alone(precision):
    with pytest.raises(LpcamError, match=f"not on cpu in {precision}: give --device cpu and --precision float32"):
        network_of(convolutions(), "mnn", precision)


@pytest.mark.parametrize("fails_at", ["const", "forward"])
def test_mnn_is_not_called_again_once_it_failed(fails_at):
    calls = []

    def const(pixels: np.ndarray, shape: list[int], order: str) -> np.ndarray:
        calls.append(shape)
        if fails_at == "const":
            raise SystemError
        return pixels

    expr = SimpleNamespace(const=const, NCHW="NCHW")
    network = _Network(SimpleNamespace(expr=expr), SimpleNamespace(forward=lambda given: []))
    for _ in range(2):
        with pytest.raises(LpcamError, match=r"MNN failed at images of 2x3x8x9, .*: leave --runtime out, or give"):
            network(torch.zeros(2, 3, 8, 9))
    assert calls == [[2, 3, 8, 9]]


@needs_mnn
def test_generate_by_mnn_prints_one_json_object_and_the_seeds_of_torch(data, classifier, tmp_path):
    workspace = Workspace(tmp_path / "work")
    corridor.extract_features(workspace, data, classifier, scales=(1.0, 0.5))
    corridor.cluster(workspace)
    corridor.generate(workspace, execution=Execution("cpu"), out=tmp_path / "torch")
    command = [sys.executable, "-m", "lpcam_cli", "generate", "-w", workspace.root, "--runtime", "mnn", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "mnn")],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout)["images"] == 6
    names = sorted(path.name for path in (tmp_path / "torch").glob("*.npy"))
    assert len(names) == 6
    for name in names:
        ours, theirs = (np.load(tmp_path / side / name, allow_pickle=True).item() for side in ("mnn", "torch"))
        assert np.abs(ours["high_res"] - theirs["high_res"]).max() < 1e-4


def test_what_c_prints_is_logged_and_stdout_is_itself_again(capfd, caplog):
    caplog.set_level("DEBUG", logger="lpcam.runtime")
    with stdout_of_c_logged():
        os.write(1, b"two\n")
        ctypes.CDLL(None).puts(b"lines")  # which C keeps until it is flushed
    os.write(1, b"the result")
    assert capfd.readouterr() == ("the result", "")
    assert [record.getMessage() for record in caplog.records] == ["two", "lines"]


def test_compile_goes_through_torch_compile_with_sizes_left_open(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: compiled.append(dynamic) or call)
    network = network_of(tiny_classifier([[1.0, 0, 0]]), "compile", "float32")
    assert compiled == [True]
    assert network(torch.ones(1, 3, 8, 12)).tolist() == [[[[1, 1, 1], [1, 1, 1]]] * 3]


def test_compile_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LpcamError, match="--compile needs a C\\+\\+ compiler on the CPU: install g\\+\\+"):
        network_of(tiny_classifier([[1.0, 0, 0]]), "compile", "float32")


def test_an_unknown_runtime_is_named_with_the_nearest():
    with pytest.raises(LpcamError, match="openvino"):
        network_of(tiny_classifier([[1.0, 0, 0]]), "openvin", "float32")


@pytest.mark.parametrize(
    ("words", "runtime"),
    [(["--compile"], "compile"), (["--runtime", "openvino"], "openvino"), (["--runtime", "mnn"], "mnn"), ([], "fused")],
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
