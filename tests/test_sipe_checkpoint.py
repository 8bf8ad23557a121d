"""A checkpoint as SIPE's repository saves it, through the forward passes of generate, beside the slow transcription."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision import models

from lpcam.backbones import load_classifier, load_trunk
from lpcam.backbones.extras import Extras
from lpcam.errors import LpcamError
from lpcam.forward import Forward
from lpcam.generate import activation_maps
from lpcam.methods.cam import Cam
from lpcam.methods.iscam import IsCam
from lpcam.records import Photo
from lpcam.views import view
from tests.reference import sipe

CHANNELS, WIDTHS = (256, 512, 1024, 2048), (8, 8, 16, 16)
SIZE = (64, 96)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A ResNet-50 of output stride 16 with random weights, sides and a head of three classes."""
    torch.manual_seed(3)
    net = models.resnet50(weights=None)
    net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = (1, 1)
    net.train()
    with torch.no_grad():
        net(torch.randn(4, 3, 64, 64))  # batch norm of a healthy scale
    net.sides = nn.ModuleList(nn.Conv2d(*pair, 1, bias=False) for pair in zip(CHANNELS, WIDTHS, strict=True))
    net.classifier = nn.Conv2d(2048, 3, 1, bias=False)
    return net.eval()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    stages = {"stage1": ("conv1", "bn1", "relu", "maxpool", "layer1")}
    stages |= {f"stage{index}": (f"layer{index}",) for index in (2, 3, 4)}
    state = {f"resnet50.{name}": tensor for name, tensor in network.state_dict().items() if "sides" not in name}
    state = {name: tensor for name, tensor in state.items() if "classifier" not in name}
    for stage, modules in stages.items():
        state |= nn.Sequential(*map(network.get_submodule, modules)).state_dict(prefix=f"{stage}.")
    for index, side in enumerate(network.sides, 1):
        state |= {f"side{index}.weight": side.weight, f"newly_added.{index}.weight": side.weight}
    state |= {"classifier.weight": network.classifier.weight, "newly_added.0.weight": network.classifier.weight}
    path = tmp_path_factory.mktemp("sipe") / "sipe.pth"
    torch.save({"net": state, "iter": 3}, path)
    return path


@torch.no_grad()
def transcribed(network: nn.Module, image: torch.Tensor, labels: tuple[int, ...]) -> np.ndarray:
    """Return the published inference at one scale, from torchvision's own modules: [K, h, w]."""
    levels, logits = [], []
    for pixels in (image, image.flip(-1)):
        x = network.maxpool(network.relu(network.bn1(network.conv1(pixels[None]))))
        own = []
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(network, name)(x)
            own.append(x)
        sides = zip(network.sides, own, strict=True)
        unit = [F.normalize(side(level), dim=1) for side, level in sides]
        grid = own[2].shape[2:]  # stage 3's, as published
        resized = [F.interpolate(level, grid, mode="bilinear", align_corners=False) for level in unit]
        levels.append(torch.cat(resized, dim=1)[0].double().numpy())
        logits.append(network.classifier(x)[0].double().numpy())
    return sipe.infer(np.stack(logits), np.stack(levels), labels)["iscam"][[label + 1 for label in labels]]


def photo(folder) -> Photo:
    pixels = np.random.default_rng(5).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(folder / "a.png")
    return Photo("a", folder / "a.png", (0, 2))


def test_a_published_checkpoint_gives_is_cam_as_the_published_code(network, saved, tmp_path):
    shown = photo(tmp_path)
    model = load_classifier("resnet50", saved, num_classes=3)
    assert [tuple(side.shape) for side in model.extras.sides] == list(zip(WIDTHS, CHANNELS, strict=True))
    forward = Forward(model, (1.0,))
    method = IsCam(Cam(model.class_weights), model.extras.sides)
    (found,) = activation_maps(forward, forward.load([shown]), {"iscam": method})["iscam"]
    image = view(np.asarray(Image.open(shown.path)), SIZE, MEAN, STD)
    maps = torch.from_numpy(transcribed(network, image, shown.labels))[None]
    expected = F.interpolate(maps, SIZE, mode="bilinear", align_corners=False)[0]
    expected = expected / (expected.amax(dim=(1, 2), keepdim=True) + 1e-5)
    assert float(expected.min()) < 0.9  # the maps tell places apart
    assert float((found.high_res - expected).abs().max()) < 1e-5


def test_sides_change_the_identity_of_a_classifier_and_come_back_from_a_checkpoint(saved, tmp_path):
    model = load_classifier("resnet50", saved, num_classes=3)
    trunk = load_trunk("resnet50", saved)
    for name, extras in (("plain", Extras()), ("sides", model.extras)):
        torch.save(trunk.checkpoint(model.class_weights, extras), tmp_path / f"{name}.pth")
    plain, again = (load_classifier("resnet50", tmp_path / f"{name}.pth") for name in ("plain", "sides"))
    assert plain.extras.sides == ()
    assert all(torch.equal(one, other) for one, other in zip(again.extras.sides, model.extras.sides, strict=True))
    assert again.sha256 == model.sha256 != plain.sha256


def test_sides_that_do_not_fit_the_network_say_so(saved, tmp_path):
    content = torch.load(saved, weights_only=True)["net"]
    lacking = {name: tensor for name, tensor in content.items() if not name.startswith("side3")}
    torch.save(lacking, tmp_path / "three.pth")
    with pytest.raises(LpcamError, match="has 3 side convolutions for 4 levels: is --arch right"):
        load_classifier("resnet50", tmp_path / "three.pth")
    torch.save({**content, "side2.weight": torch.zeros(8, 5, 1, 1)}, tmp_path / "narrow.pth")
    with pytest.raises(LpcamError, match=r"side2 of .* is \[8, 5, 1, 1\], for 512 channels: is --arch right"):
        load_classifier("resnet50", tmp_path / "narrow.pth")


def test_another_layer_than_the_last_has_no_sides(saved):
    head = torch.ones(3, 1024)
    path = saved.parent / "head.npy"
    np.save(path, head.numpy())
    assert load_classifier("resnet50", saved, layer="layer3", head=path).extras.sides == ()
