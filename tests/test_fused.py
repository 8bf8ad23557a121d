"""Fused convolutions and Winograd's: the same function, in fewer steps."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from lpcam import corridor
from lpcam.backbones import load_classifier, load_trunk
from lpcam.backbones.classifier import Blueprint, Classifier
from lpcam.backbones.levels import Level, features_at
from lpcam.forward import Forward
from lpcam.records import Execution
from lpcam.runtime import networks_of, winograd
from lpcam.runtime.fused import FusedConvolution, fused, fused_network
from lpcam.runtime.winograd import WinogradConvolution, applies
from lpcam.workspace import Workspace


def apart(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, in those of the largest number."""
    assert found.shape == expected.shape
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


def random_norms(network: nn.Module) -> nn.Module:
    """Give every batch norm numbers that matter, and freeze the network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -1, 1)
    return network.eval().requires_grad_(False)


def classifier_of(network: nn.Module, channels: int) -> Classifier:
    blueprint = Blueprint(nn.Sequential(random_norms(network)), ("0",), "fc.weight", stride=1)
    return Classifier("tiny", blueprint, "0", 1, torch.ones(2, channels), "0" * 64)


def convolved(size: int, *channels: int) -> nn.Module:
    return nn.Conv2d(*channels, size, padding=size // 2)


def relued(*form: int) -> nn.Module:
    return nn.Sequential(convolved(*form), nn.ReLU())


class Residual(nn.Module):
    """A basic block of a ResNet, with a convolution as shortcut or none."""

    def __init__(self, *, shortcut: bool, tail: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolved(3, 6, 6), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = convolved(3, 6, 6), nn.BatchNorm2d(6)
        self.shortcut = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)) if shortcut else nn.Sequential()
        self.relu, self.tail = nn.ReLU(inplace=True), tail

    def forward(self, grid: Tensor) -> Tensor:
        inside = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(grid)))))
        inside += self.shortcut(grid)
        return self.tail(inside)


class Preactivated(nn.Module):
    """What the shortcut reads is changed in place before the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut, self.conv, self.relu = nn.Conv2d(6, 6, 1), convolved(3, 6, 6), nn.ReLU(inplace=True)

    def forward(self, grid: Tensor) -> Tensor:
        grid = grid * 1.0
        shortcut = self.shortcut(grid)
        return self.relu(self.conv(self.relu(grid)).mul(2) + shortcut)


class AskedTwice(nn.Module):
    """A convolution that is asked for before its batch norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = convolved(3, 6, 6), nn.BatchNorm2d(6)

    def forward(self, grid: Tensor) -> Tensor:
        found = self.conv(grid)
        return F.relu(self.norm(found)) + found


class Doubled(nn.Module):
    """A convolution that is added to itself, one that is called by name, and one with a factor in its sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (convolved(3, 6, 6) for _ in range(3))

    def forward(self, grid: Tensor) -> Tensor:
        found = self.one(grid)
        found = torch.add(found, found)
        return found + torch.add(self.two(input=grid).relu(), self.three(grid), alpha=3).relu()


class Named(nn.Module):
    """A ReLU that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = convolved(3, 6, 6)

    def forward(self, grid: Tensor) -> Tensor:
        return self.conv(grid).relu_()


class PaddedToEven(nn.Conv2d):
    """A convolution that does by the size of its input what torch.fx cannot follow, as timm's of TensorFlow."""

    def forward(self, grid: Tensor) -> Tensor:
        return super().forward(F.pad(grid, (0, 1)) if grid.shape[3] % 2 else grid)


class Branching(nn.Module):
    """A network that torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = convolved(3, 3, 6)

    def forward(self, grid: Tensor) -> Tensor:
        return self.conv(grid) if grid.shape[2] > 4 else grid


def steps_of(network: nn.Module) -> list[str]:
    """Return the modules that a fused network calls, in order."""
    modules = dict(network.named_modules())
    called = [modules[node.target] for node in network.graph.nodes if node.op == "call_module"]
    return [type(module).__name__ for module in called]


class FixedNorm(nn.BatchNorm2d):
    """As IRN writes it: what it keeps of its training is used in training too."""

    def forward(self, grid: Tensor) -> Tensor:
        return F.batch_norm(
            grid, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class CappedNorm(nn.BatchNorm2d):
    """A batch norm and something else."""

    def forward(self, grid: Tensor) -> Tensor:
        return super().forward(grid).clamp(-1, 1)


def frozen_norm(channels: int) -> nn.Module:
    """torchvision's, of which the numbers are buffers."""
    numbers = {name: torch.rand(channels) + 0.5 for name in ("weight", "bias", "running_mean", "running_var")}
    norm = FrozenBatchNorm2d(channels)
    norm.load_state_dict(numbers)
    return norm


NETWORKS = {
    "norm of IRN": nn.Sequential(convolved(3, 6, 6), FixedNorm(6), nn.ReLU()),
    "norm of torchvision": nn.Sequential(convolved(3, 6, 6), frozen_norm(6), nn.ReLU()),
    "norm that does more": nn.Sequential(convolved(3, 6, 6), CappedNorm(6), relued(3, 6, 6)),
    "ReLU by name": Named(),
    "padded to even": nn.Sequential(relued(3, 6, 6), PaddedToEven(6, 6, 1), nn.BatchNorm2d(6), relued(3, 6, 6)),
    "norm, ReLU6": nn.Sequential(convolved(5, 6, 8), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Conv2d(8, 6, 1)),
    "norm without numbers": nn.Sequential(convolved(3, 6, 6), nn.BatchNorm2d(6, affine=False)),
    "groups, stride, dilation": nn.Sequential(nn.Conv2d(6, 12, 3, 2, 2, 2, 6, bias=False), nn.SiLU(), nn.ReLU()),
    "hardswish": nn.Sequential(nn.Conv2d(6, 6, (3, 1), padding=(1, 0)), nn.Hardswish(), convolved(3, 6, 6), nn.GELU()),
    "padding in words": nn.Sequential(nn.Conv2d(6, 6, 3, padding="same"), nn.BatchNorm2d(6), relued(3, 6, 6)),
    "reflected": nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU(), relued(3, 6, 6)),
    "residual": Residual(shortcut=False, tail=nn.ReLU()),
    "residual of a convolution": Residual(shortcut=True, tail=nn.ReLU(inplace=True)),
    "residual without ReLU": Residual(shortcut=True, tail=nn.Identity()),
    "residual with ReLU6": Residual(shortcut=False, tail=nn.ReLU6()),
    "preactivated": nn.Sequential(Preactivated(), relued(3, 6, 6)),
    "asked twice": nn.Sequential(AskedTwice(), relued(3, 6, 6)),
    "doubled": nn.Sequential(Doubled(), relued(3, 6, 6)),
    "wide": nn.Sequential(convolved(3, 6, 256), convolved(3, 256, 256), nn.BatchNorm2d(256), nn.ReLU()),
    "wide with ReLU6": nn.Sequential(convolved(3, 6, 256), convolved(3, 256, 256), nn.ReLU6()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_is_the_same_function(name):
    torch.manual_seed(0)
    network = random_norms(NETWORKS[name])
    found = fused(network)
    for shape in ((1, 6, 9, 14), (3, 6, 16, 5)):
        grid = 9 * torch.randn(shape)
        kept = grid.clone()
        assert apart(found(grid), network(grid)) < 1e-5
        assert torch.equal(grid, kept)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("norm, ReLU6", ["FusedConvolution", "Conv2d"]),
        ("ReLU by name", ["FusedConvolution"]),
        ("padded to even", ["FusedConvolution", "PaddedToEven", "BatchNorm2d", "FusedConvolution"]),
        ("norm of IRN", ["FusedConvolution"]),
        ("norm of torchvision", ["FusedConvolution"]),
        ("norm that does more", ["Conv2d", "CappedNorm", "FusedConvolution"]),
        ("residual", ["FusedConvolution"] * 2),
        ("residual of a convolution", ["FusedConvolution"] * 3),
        ("residual with ReLU6", ["FusedConvolution"] * 2 + ["ReLU6"]),
        ("hardswish", ["FusedConvolution", "Conv2d", "GELU"]),
        ("wide", ["Conv2d", "WinogradConvolution"]),
        ("wide with ReLU6", ["Conv2d", "FusedConvolution"]),
    ],
)
def test_what_follows_a_convolution_and_nothing_else_asks_for_is_part_of_it(name, steps):
    assert steps_of(fused(random_norms(NETWORKS[name]))) == steps


def test_a_network_with_nothing_to_fuse_is_left_alone():
    assert fused(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None
    assert fused(nn.Sequential(convolved(3, 6, 6), nn.GELU())) is None


@pytest.mark.parametrize(
    ("act", "steps"),
    [
        (nn.ReLU, ["FusedConvolution"]),
        (nn.Identity, ["FusedConvolution"]),
        (nn.Tanh, ["FusedConvolution", "Tanh"]),
    ],
)
def test_a_norm_of_timm_with_its_activation_is_part_of_the_convolution(act, steps):
    layers = pytest.importorskip("timm.layers")
    norm = layers.BatchNormAct2d(6, act_layer=act, inplace=False)
    network = random_norms(nn.Sequential(convolved(3, 6, 6), norm))
    found, grid = fused(network), torch.randn(2, 6, 7, 8)
    assert steps_of(found) == steps
    assert apart(found(grid), network(grid)) < 1e-5
    assert isinstance(network[1], layers.BatchNormAct2d)


class Remembers(nn.Module):
    """A module that keeps what it saw."""

    def forward(self, grid: Tensor) -> Tensor:
        self.seen = grid
        return grid


def test_what_a_module_keeps_of_a_pass_is_not_what_torch_fx_saw():
    network = nn.Sequential(convolved(3, 6, 6), nn.ReLU(), Remembers()).requires_grad_(False)
    network(torch.ones(1, 6, 2, 2))
    seen = network[2].seen
    assert fused(network) is not None
    assert network[2].seen is seen


def test_a_convolution_with_a_hook_is_left_alone():
    conv = convolved(3, 3, 6)
    conv.register_forward_hook(lambda module, given, found: found + 1)
    assert fused(nn.Sequential(conv, nn.ReLU())) is None


class CountingNorm(nn.BatchNorm2d):
    """A batch norm that changes its numbers whenever it is used."""

    def forward(self, grid: Tensor) -> Tensor:
        self.running_mean += 1
        return super().forward(grid)


def test_a_norm_is_asked_without_a_trace():
    network = random_norms(nn.Sequential(convolved(3, 3, 6), CountingNorm(6), relued(3, 6, 6)))
    before = network[1].running_mean.clone()
    assert steps_of(fused(network)) == ["Conv2d", "CountingNorm", "FusedConvolution"]
    assert torch.equal(network[1].running_mean, before)


def test_a_norm_with_a_hook_stays_a_norm():
    norm = nn.BatchNorm2d(6)
    norm.register_forward_hook(lambda module, given, found: found + 1)
    network = random_norms(nn.Sequential(convolved(3, 3, 6), norm, relued(3, 6, 6)))
    assert steps_of(fused(network)) == ["Conv2d", "BatchNorm2d", "FusedConvolution"]


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet50") / "weights.pth"
    trunk = load_trunk("resnet50", None)
    torch.save(random_norms(trunk).checkpoint(torch.ones(2, trunk.channels)), path)
    return load_classifier("resnet50", path).to(memory_format=torch.channels_last)


def test_resnet50_is_53_convolutions_and_a_pooling(resnet50):
    network = fused_network(resnet50, "float32")
    assert Counter(type(module).__name__ for module in network.modules() if not list(module.children())) == {
        "FusedConvolution": 45,
        "WinogradConvolution": 8,  # all 3×3 ones of 256 channels or more but for the strided
        "MaxPool2d": 1,
    }
    images = torch.randn(2, 3, 70, 101).to(memory_format=torch.channels_last)
    expected, found = resnet50.levels(images), network(images)
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        assert apart(ours, theirs) < 1e-4
        assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_classifier_is_as_it_was_after_it_was_fused():
    net = classifier_of(nn.Sequential(convolved(3, 3, 256), nn.BatchNorm2d(256), convolved(3, 256, 256)), 256)
    images, state = torch.randn(1, 3, 9, 9), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    before = net.features(images)
    network = fused_network(net, "float32")
    network(images)
    assert torch.equal(net.features(images), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def of_two_levels() -> Classifier:
    """A network whose second stage changes the first level in place."""
    stages = nn.Sequential(convolved(3, 3, 6), nn.ReLU(inplace=True), relued(3, 6, 6)).requires_grad_(False)
    blueprint = Blueprint(stages, ("0", "1", "2"), "fc.weight", stride=1, levels=(Level(0, 6),))
    return Classifier("tiny", blueprint, "2", 1, torch.ones(2, 6), "0" * 64)


def test_every_level_of_a_fused_network_is_that_of_torch():
    net, images = of_two_levels(), torch.randn(2, 3, 9, 7)
    networks = networks_of(net, "fused", "float32")
    found, expected = networks.levels(images), net.levels(images)
    assert steps_of(fused_network(net, "float32")) == ["Conv2d", "ReLU", "FusedConvolution"]
    assert [apart(*pair) < 1e-5 for pair in zip(found, expected, strict=True)] == [True, True]
    assert torch.equal(networks.features(images), found[-1])


def test_a_fused_network_with_another_level_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(
        "lpcam.runtime.fused.features_at", lambda *given: (features_at(*given)[0] + 1, features_at(*given)[1])
    )
    assert fused_network(of_two_levels(), "float32") is None
    assert "'tiny' would have other features when fused" in caplog.text


def test_only_float32_on_a_cpu_with_onednn_is_fused(monkeypatch):
    net = classifier_of(relued(3, 3, 6), 6)
    assert fused_network(net, "float32") is not None
    assert fused_network(net, "bfloat16") is None
    assert fused_network(net.to("meta"), "float32") is None
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert fused_network(classifier_of(relued(3, 3, 6), 6), "float32") is None


def test_a_network_that_cannot_be_followed_is_carried_out_as_it_is(caplog):
    caplog.set_level("INFO", logger="lpcam.runtime")
    net = classifier_of(Branching(), 6)
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(networks_of(net, "fused", "float32").features(images), net.features(images))
    assert "'tiny' is carried out as it is: symbolically traced variables" in caplog.text


def test_a_fused_network_that_computes_other_features_is_not_used(caplog, monkeypatch):
    def twice(self: FusedConvolution, grid: Tensor, other: Tensor | None = None) -> Tensor:
        return 2 * torch.ones(grid.shape[0], 6, *grid.shape[2:])

    monkeypatch.setattr(FusedConvolution, "forward", twice)
    net = classifier_of(relued(3, 3, 6), 6)
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(networks_of(net, "fused", "float32").features(images), net.features(images))
    assert "'tiny' would have other features when fused: it is carried out as it is" in caplog.text


def test_by_default_generate_fuses_and_writes_the_seeds_of_torch(data, classifier, tmp_path):
    workspace = Workspace(tmp_path / "work")
    assert Execution().runtime == "fused"
    corridor.extract_features(workspace, data, classifier, scales=(1.0, 0.5))
    corridor.cluster(workspace)
    for runtime in ("fused", "torch"):
        corridor.generate(workspace, execution=Execution("cpu", runtime=runtime), out=tmp_path / runtime)
    names = sorted(path.name for path in (tmp_path / "torch").glob("*.npy"))
    assert len(names) == 6
    for name in names:
        ours, theirs = (np.load(tmp_path / side / name, allow_pickle=True).item() for side in ("fused", "torch"))
        assert np.abs(ours["high_res"] - theirs["high_res"]).max() < 1e-4


def test_forward_takes_the_fused_network(resnet50):
    images = torch.randn(1, 3, 64, 64).to(memory_format=torch.channels_last)
    networks, expected = Forward(resnet50, (1.0,))._networks, fused_network(resnet50, "float32")(images)
    assert torch.equal(networks.features(images), expected[-1])
    assert all(map(torch.equal, networks.levels(images), expected))
    assert not any(map(torch.equal, expected, resnet50.levels(images)))  # which differ by rounding


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_winograd_is_a_convolution_at_every_size(relu, adds):
    torch.manual_seed(1)
    conv = convolved(3, 5, 7)
    ours = WinogradConvolution(conv, relu=relu)
    for count, height, width in ((1, 1, 1), (2, 4, 4), (1, 5, 8), (3, 2, 13), (2, 11, 3), (1, 20, 17)):
        grid = torch.randn(count, 5, height, width).to(memory_format=torch.channels_last)
        other = torch.randn(count, 7, height, width) if adds else None
        expected = conv(grid) + other if adds else conv(grid)
        found = ours(grid, other).detach()
        assert apart(found, expected.relu() if relu else expected) < 1e-5
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("tiles", [1, 3, 7, 12, 30])
def test_winograd_in_blocks_is_winograd_in_one(tiles, monkeypatch):
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False).requires_grad_(False)
    ours, grid, other = WinogradConvolution(conv, relu=True), torch.randn(4, 4, 14, 10), torch.randn(4, 6, 14, 10)
    whole = ours(grid, other)
    monkeypatch.setattr(winograd, "_FLOATS", 1)
    monkeypatch.setattr(winograd, "_LEAST_TILES", tiles)
    assert apart(ours(grid, other), whole) < 1e-6
    assert apart(whole, F.relu(conv(grid) + other)) < 1e-5


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (5, 3, 4), (2, 40, 30), (7, 1, 300)])
def test_blocks_are_every_row_of_every_image_once(count, rows, columns):
    seen = Counter(
        (image, row)
        for images, part in winograd._blocks(count, rows, columns, 256)
        for image in range(images.start, images.stop)
        for row in range(part.start, part.stop)
    )
    assert seen == {(image, row): 1 for image in range(count) for row in range(rows)}


def test_winograd_of_ones_counts_the_pixels_under_the_kernel():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.ones_(conv.weight)
    nn.init.constant_(conv.bias, 0.5)
    found = WinogradConvolution(conv, relu=False)(torch.ones(1, 1, 3, 4)).detach()
    expected = torch.tensor([[4.5, 6.5, 6.5, 4.5], [6.5, 9.5, 9.5, 6.5], [4.5, 6.5, 6.5, 4.5]])
    assert torch.allclose(found[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "circular"}, {"padding": "same"}],
)
def test_winograd_is_for_plain_convolutions_with_many_channels(options):
    assert applies(nn.Conv2d(256, 256, 3, padding=1, device="meta"))
    assert not applies(nn.Conv2d(256, 256, 3, **{"padding": 1, **options}, device="meta"))
    assert not applies(nn.Conv2d(256, 256, 5, padding=1, device="meta"))
    assert not applies(nn.Conv2d(256, 255, 3, padding=1, device="meta"))
