"""export: one network, equal under torch.export and onnxruntime; the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

import lpcam
from lpcam import corridor
from lpcam.backbones import load_classifier
from lpcam.errors import LpcamError
from lpcam.export import LpcamNet, export, export_workspace
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.workspace import Workspace

PROFILE = get_profile("voc", k=3, iterations=20)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two images [2, 3, 96, 128], normalised."""
    return torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def user_model() -> nn.Module:
    """Torchvision's ResNet with one block a stage and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)


@pytest.fixture(scope="module")
def user_prototypes(user_model, images) -> Prototypes:
    """Prototypes of that model."""
    labels = [[0, 1, 2], [1, 2]]
    return lpcam.build_prototypes(user_model, [(images, labels)], target_layer="layer4", profile=PROFILE, scales=(1,))


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    """Features and prototypes of the demo's network."""
    made = Workspace(tmp_path / "w")
    corridor.extract_features(made, data, classifier, scales=(1.0,))
    corridor.cluster(made, profile=PROFILE)
    return made


def by_torch(path) -> Callable[[torch.Tensor], np.ndarray]:
    module = torch.export.load(path).module()
    return lambda images: module(images).numpy()


def by_onnxruntime(path) -> Callable[[torch.Tensor], np.ndarray]:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["maps"], {"images": images.numpy()})[0]


READERS = {"pt2": by_torch, "onnx": by_onnxruntime}


@pytest.mark.parametrize("format", READERS)
def test_a_users_network_is_equal_at_every_size(user_model, user_prototypes, images, tmp_path, format):
    net, path = LpcamNet(user_model, prototypes=user_prototypes, upsample=True), tmp_path / f"net.{format}"
    user_model.train()
    about = export(net, path, format=format, size=(96, 128), dynamic=True)
    assert user_model.training
    user_model.eval()
    assert about["classes"] == ["class 0", "class 1", "class 2"]
    read = READERS[format](path)
    for batch in (images, images[:1], torch.randn(3, 3, 65, 50)):
        found = read(batch)
        with torch.no_grad():
            assert np.abs(found - net(batch).numpy()).max() < 1e-4
        maps = lpcam.LPCAM(user_model, prototypes=user_prototypes)(batch, [[0, 1, 2]] * len(batch))
        assert np.abs(found - torch.stack(maps).numpy()).max() < 1e-4
        assert found.max() == pytest.approx(1)


@pytest.mark.parametrize("format", READERS)
def test_the_demo_net_by_the_command(workspace, checkpoint, tmp_path, format):
    path = tmp_path / f"demo.{format}"
    arguments = [
        "export",
        "-w",
        str(workspace.root),
        "--format",
        format,
        "--out",
        str(path),
        "--size",
        "40x56",
        "--json",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    about = json.loads(result.stdout)
    assert (about["classes"], about["size"], about["dynamic"]) == (["sheep", "train"], [40, 56], False)
    model, images = load_classifier("demo", checkpoint), torch.randn(1, 3, 40, 56)
    net = LpcamNet(model, prototypes=workspace.prototypes)
    found = READERS[format](path)(images)
    assert found.shape == (1, 2, 5, 7)
    assert np.abs(found - net(images).numpy()).max() < 1e-4


def test_what_a_program_needs_is_in_the_file(workspace, tmp_path):
    onnx = pytest.importorskip("onnx")
    about = export_workspace(workspace, tmp_path / "a.onnx", size=(40, 56))
    model = onnx.load(tmp_path / "a.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["lpcam"] == json.dumps(about)
    assert about["mean"] == [0.485, 0.456, 0.406]
    extra = {"lpcam": ""}
    export_workspace(workspace, tmp_path / "a.pt2", format="pt2", size=(40, 56))
    torch.export.load(tmp_path / "a.pt2", extra_files=extra)
    assert json.loads(extra["lpcam"])["classes"] == ["sheep", "train"]
    assert sorted(path.name for path in tmp_path.glob("a.*")) == ["a.onnx", "a.pt2"]


def test_a_map_without_a_peak_stays_zero(user_model, user_prototypes, images):
    net = LpcamNet(user_model, prototypes=user_prototypes).eval()
    net.folded[1] = 0
    with torch.no_grad():
        maps = net(images)
    assert float(maps[:, 1].abs().max()) == 0
    assert torch.equal(maps[:, 0].amax(dim=(1, 2)), torch.ones(2))


class OneSize(nn.Module):
    """A network that takes 32×32 px only, as transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.places = nn.Parameter(torch.rand(8, 4, 4))
        self.fc = nn.Linear(8, 2)

    def forward(self, images):
        return self.fc((self.patches(images) + self.places).mean(dim=(2, 3)))


def test_what_cannot_be_exported(workspace, tmp_path, monkeypatch):
    model, images = OneSize(), torch.rand(1, 3, 32, 32)
    prototypes = lpcam.build_prototypes(model, [(images, [[0, 1]])], target_layer="patches", scales=(1,))
    net = LpcamNet(model, prototypes=prototypes)
    with pytest.raises(LpcamError, match=r"cannot be exported at 32x32 \(.*\): leave out --dynamic"):
        export(net, tmp_path / "x.pt2", format="pt2", size=(32, 32), dynamic=True)
    with pytest.raises(LpcamError, match=r"cannot be exported at 40x40 \(.*\): try another --size"):
        export(net, tmp_path / "x.pt2", format="pt2", size=(40, 40))
    assert export(net, tmp_path / "x.pt2", format="pt2", size=(32, 32))["size"] == [32, 32]
    with pytest.raises(LpcamError, match="unknown format 'onx': did you mean 'onnx'"):
        export(net, tmp_path / "x.onnx", format="onx")
    monkeypatch.setattr("lpcam.export.find_spec", lambda name: None)
    with pytest.raises(LpcamError, match=re.escape("pip install 'lpcam[onnx]'")):
        export(net, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_a_size_that_is_none_is_a_usage_error(tmp_path):
    result = CliRunner().invoke(main, ["export", "-w", str(tmp_path), "--out", "x.onnx", "--size", "40"])
    assert result.exit_code == 2
    assert "such as 375x500" in result.stderr
