"""Backbones: features and class weights agree with torchvision's own logits, at every stride."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from lpcam.backbones import (
    ARCHITECTURES,
    Classifier,
    checkpoints,
    known_architectures,
    load_classifier,
    torchvision_nets,
)
from lpcam.backbones.classifier import Blueprint, stages_up_to
from lpcam.backbones.dense import make_dense, output_shape
from lpcam.backbones.patches import with_positions
from lpcam.backbones.probing import shapes_after
from lpcam.backbones.resnet50 import ResNet50, canonical_name
from lpcam.errors import LpcamError

POOLED_LAST = [
    "resnet18",
    "regnet_x_400mf",
    "shufflenet_v2_x0_5",
    "mobilenet_v2",
    "efficientnet_b0",
    "mnasnet0_5",
    "densenet121",
    "swin_t",
    "swin_v2_t",
]
PER_POSITION = ["mobilenet_v3_small", "convnext_tiny"]
HALVINGS = {  # c: an odd side is rounded up, f: 2×2 and 4×4 kernels drop its border, as published
    "densenet121": "ccfff",
    "convnext_tiny": "fffff",
    "vgg11": "fffff",
}


def network(name: str, classes: int = 3) -> nn.Module:
    """Return a torchvision net in eval mode whose batch norms are not the identity."""
    torch.manual_seed(7)
    net = models.get_model(name, weights=None, num_classes=classes).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def images(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A MobileNet V2 of three classes and its checkpoint; the cheapest net."""
    net = network("mobilenet_v2")
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(net.state_dict(), path)
    return net, path


def load(net: nn.Module, name: str, tmp_path, **options) -> Classifier:
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    return load_classifier(name, path, **options)


@pytest.fixture
def saved(monkeypatch):
    """Take a checkpoint as it would come out of its file; 100 MB stay off the disk."""

    def save(content):
        monkeypatch.setattr(checkpoints, "_require_file", lambda *_: None)
        monkeypatch.setattr(checkpoints, "_read_torch", lambda _path: content)
        return "net.pth"

    return save


def logits(model: Classifier, features: torch.Tensor) -> torch.Tensor:
    return features @ model.class_weights.T


# --- the features and class weights are those of the network ---------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", POOLED_LAST)
def test_mean_of_the_map_is_the_networks_logit(name, tmp_path):
    net = network(name)
    model = load(net, f"torchvision/{name}", tmp_path, stride=32)
    bias = list(net.parameters())[-1]
    expected = net(images(70, 97))
    assert expected.std() > 1e-4
    mine = logits(model, model.features(images(70, 97)).mean((2, 3))) + bias
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", PER_POSITION)
def test_a_map_of_one_position_gives_the_networks_logit(name, tmp_path):
    net = network(name)
    model = load(net, f"torchvision/{name}", tmp_path, stride=32)
    features = model.features(images(32, 32))
    assert features.shape[2:] == (1, 1)
    mine = logits(model, features[:, :, 0, 0]) + list(net.parameters())[-1]
    torch.testing.assert_close(mine, net(images(32, 32)), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_centre_of_a_vgg_map_gives_the_networks_logit(monkeypatch):
    net = models.vgg11(weights=None, num_classes=3, init_weights=False).eval()
    read = "lpcam.backbones.checkpoints.read_checkpoint"  # half a gigabyte stays off the disk
    monkeypatch.setattr(read, lambda _path: net.state_dict())
    model = load_classifier("torchvision/vgg11", "vgg11.pth", stride=32)
    features = model.features(images(224, 224))
    assert features.shape[1:] == (4096, 7, 7)
    mine = logits(model, features[:, :, 3, 3]) + net.classifier[6].bias
    torch.testing.assert_close(mine, net(images(224, 224)), rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_features_are_taken_after_the_relu(name, tmp_path):
    model = load(network(name), f"torchvision/{name}", tmp_path)
    features = model.features(images(64, 64))
    assert features.min() == 0
    assert features.max() > 0


def test_the_classifier_is_frozen_and_says_what_it_is(mobilenet):
    net, path = mobilenet
    model = load_classifier("torchvision/mobilenet_v2", path, num_classes=3)
    said = (model.arch, model.layer, model.stride, model.channels, model.num_classes, model.minimum_side)
    assert said == ("torchvision/mobilenet_v2", "features.18", 16, 1280, 3, 32)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.class_weights.dtype == torch.float32
    assert torch.equal(model.class_weights, net.classifier[1].weight)
    features = model.features(images(32, 32).requires_grad_())
    assert not features.requires_grad
    assert torch.equal(model(images(32, 32)), features)
    assert model.mean == (0.485, 0.456, 0.406)
    assert model.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 3, 32), (1, 1, 32, 32)])
def test_images_of_another_shape_are_a_programmers_error(shape, mobilenet):
    model = load_classifier("torchvision/mobilenet_v2", mobilenet[1])
    with pytest.raises(ValueError, match=r"expected images \[N, 3, H, W\], got \["):
        model.features(torch.zeros(shape))


def test_loading_draws_no_random_numbers(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(network("regnet_x_400mf").state_dict(), path)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_classifier("torchvision/regnet_x_400mf", path)
    assert torch.equal(before, torch.get_rng_state())


@torch.no_grad()
def test_features_of_a_vit_are_its_patch_tokens_at_their_places(saved):
    net = network("vit_b_32")
    nn.init.normal_(net.heads.head.weight)
    tokens: list[torch.Tensor] = []
    net.encoder.register_forward_hook(lambda _net, _inputs, output: tokens.append(output))
    expected = net(images(224, 224))
    model = load_classifier("torchvision/vit_b_32", saved(net.state_dict()))
    assert (model.stride, model.channels, model.minimum_side, model.layer) == (32, 768, 32, "trunk")
    features = model.features(images(224, 224))
    assert features.shape == (2, 768, 7, 7)
    torch.testing.assert_close(features[:, :, 2, 3], tokens[0][:, 1 + 2 * 7 + 3], rtol=1e-4, atol=1e-5)
    class_token = tokens[0][:, 0]
    torch.testing.assert_close(logits(model, class_token) + net.heads.head.bias, expected, rtol=1e-4, atol=1e-5)
    assert model.features(images(97, 150)).shape[2:] == (3, 5)
    large = {**net.state_dict(), "encoder.pos_embedding": torch.zeros(1, 1 + 12 * 12, 768)}
    model = load_classifier("torchvision/vit_b_32", saved(large))
    assert model.features(images(384, 384)).shape[2:] == (12, 12)


@torch.no_grad()
def test_positions_are_resampled_and_prefix_tokens_keep_theirs_by_hand():
    positions = torch.tensor([[[5.0], [1.0], [3.0], [1.0], [3.0]]])  # one prefix token, then 2×2: columns differ
    prefix = torch.tensor([[[10.0]]])
    same = with_positions(torch.zeros(1, 1, 2, 2), positions, prefix)
    assert same.flatten().tolist() == [15, 1, 3, 1, 3]
    wide = with_positions(torch.zeros(2, 1, 1, 3), positions, prefix)
    assert wide.shape == (2, 4, 1)
    assert wide[0].flatten().tolist() == pytest.approx([15, wide[1, 1, 0].item(), 2, 4 - wide[1, 1, 0].item()])
    assert wide[0, 1] < 2


def test_a_swin_has_one_stride(tmp_path):
    with pytest.raises(LpcamError, match="output stride 16 is not possible here: give --stride 32"):
        load(network("swin_t"), "torchvision/swin_t", tmp_path, stride=16)


# --- output stride -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*(name for name in POOLED_LAST if "swin" not in name), *PER_POSITION, "vgg11"])
def test_every_family_has_every_stride_at_odd_sizes(name):
    with torch.device("meta"):
        blueprint = torchvision_nets.build(f"torchvision/{name}")
    blueprint.network.to("meta").eval()
    stages = stages_up_to(blueprint, blueprint.stages[-1])
    channels = blueprint.network.state_dict()[blueprint.head].shape[1]
    for stride in (32, 16, 8):
        make_dense(stages, stride)
        assert output_shape(stages) == (channels, stride)
        for height, width in ((32, 32), (33, 97), (111, 65)):
            grid = shapes_after(stages, (3, height, width))[-1]
            assert grid[1:] == (halved(name, height, stride), halved(name, width, stride))


def halved(name: str, side: int, stride: int) -> int:
    for rounding in HALVINGS.get(name, "ccccc")[: stride.bit_length() - 1]:
        side = (side + 1) // 2 if rounding == "c" else side // 2
    return side


@torch.no_grad()
def test_stride_16_of_mobilenet_v2_is_what_the_shared_classifier_was_trained_with(mobilenet):
    net, path = copy.deepcopy(mobilenet[0]), mobilenet[1]
    net.features[14].conv[1][0].stride = (1, 1)
    model = load_classifier("torchvision/mobilenet_v2", path, stride=16)
    assert torch.equal(model.features(images(65, 90)), net.features(images(65, 90)))


@torch.no_grad()
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(3, 4, 5, stride=2, padding=2),
        nn.Conv2d(3, 4, 1, stride=2),
        nn.Conv2d(3, 4, 2, stride=2),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2, 2),
        nn.MaxPool2d(3, 2, padding=1),
    ],
    ids=str,
)
def test_a_dense_layer_holds_the_strided_layer_at_every_second_position(layer):
    dense = copy.deepcopy(layer).to("meta")
    make_dense([dense], 1)
    dense.to_empty(device="cpu").load_state_dict(layer.state_dict())
    photo = images(10, 14)
    assert dense(photo).shape[2:] == (10, 14)
    torch.testing.assert_close(dense(photo)[:, :, ::2, ::2], layer(photo))


def test_the_border_is_repeated_under_a_dense_pool_by_hand():
    pool = nn.AvgPool2d(2)
    make_dense([pool], 1)
    assert pool(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist() == [2.0, 3.0]


def test_only_the_last_stages_become_dense():
    with torch.device("meta"):
        stages = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(5)]
    make_dense(stages, 8)
    assert [stage.stride[0] for stage in stages] == [2, 2, 2, 1, 1]
    assert all(stage.dilation == (1, 1) for stage in stages)


@pytest.mark.parametrize("stride", [0, 7, 64, -16])
def test_an_impossible_stride(stride, mobilenet):
    with pytest.raises(LpcamError, match="give --stride 8, 16 or 32"):
        load_classifier("torchvision/mobilenet_v2", mobilenet[1], stride=stride)


# --- layers ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_earlier_layer_needs_a_head_of_its_own(mobilenet, tmp_path):
    net, path = mobilenet
    head = np.arange(128, dtype=np.float64).reshape(2, 64)
    np.save(tmp_path / "probe.npy", head)
    model = load_classifier("torchvision/mobilenet_v2", path, layer="features.8", head=tmp_path / "probe.npy")
    assert (model.layer, model.channels, model.num_classes, model.stride) == ("features.8", 64, 2, 16)
    assert torch.equal(model.class_weights, torch.from_numpy(head).float())
    assert torch.equal(model.features(images(64, 64)), net.features[:9](images(64, 64)))


def test_a_layer_of_other_channels_is_refused(mobilenet):
    with pytest.raises(LpcamError, match=r"1280 channels, layer 'features.8' has 64: give another --layer or --head"):
        load_classifier("torchvision/mobilenet_v2", mobilenet[1], layer="features.8")


def test_an_unknown_layer_names_the_nearest(mobilenet):
    with pytest.raises(LpcamError, match=r"unknown layer 'feature.18': did you mean 'features.18'\?"):
        load_classifier("torchvision/mobilenet_v2", mobilenet[1], layer="feature.18")


def test_a_stride_the_layer_does_not_have(mobilenet):
    with pytest.raises(LpcamError, match=r"layer 'features.3' has output stride 4, not 16: give --stride 4"):
        load_classifier("torchvision/mobilenet_v2", mobilenet[1], layer="features.3", stride=16)


# --- architectures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "near"),
    [("torchvision/mobilnet_v2", "torchvision/mobilenet_v2"), ("resnet5", "resnet50"), ("dmo", "demo")],
)
def test_an_unknown_architecture_names_the_nearest(word, near):
    with pytest.raises(LpcamError, match=f"did you mean '{near}'"):
        load_classifier(word, "nowhere.pth")


@pytest.mark.parametrize("word", ["torchvision/googlenet", "torchvision/", "torchvision", "", "demo/x", "nobody/x"])
def test_what_is_not_an_architecture_is_unknown(word):
    with pytest.raises(LpcamError, match="unknown architecture"):
        load_classifier(word, "nowhere.pth")


def test_every_architecture_of_the_command_line_is_known():
    known = known_architectures()
    assert known == sorted(set(known))
    assert {"demo", "resnet50"} <= set(known)
    assert {name.partition("/")[0] for name in known} == {name.partition("/")[0] for name in ARCHITECTURES}
    families = ("resnet", "mobilenet", "efficientnet", "densenet", "vgg", "convnext")
    assert all(any(f"torchvision/{family}" in name for name in known) for family in families)


def test_the_demo_network_puts_a_cell_in_the_middle_of_its_pixels():
    """With mirrored kernels it sees in a mirror image the mirrored features, for sides that 16 divides."""
    from lpcam.backbones.demo import build as build_demo

    torch.manual_seed(0)
    net, mirrored = build_demo("demo").network.eval(), build_demo("demo").network.eval()
    state = {name: value + 1 if name.endswith(".bias") else value for name, value in net.state_dict().items()}
    net.load_state_dict(state)  # untrained, its sparse features would all be zero
    mirrored.load_state_dict({name: value.flip(-1) if value.dim() == 4 else value for name, value in state.items()})
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        features = net(images)
        torch.testing.assert_close(mirrored(images.flip(-1)), features.flip(-1))
    assert features.std() > 0.01


def test_an_architecture_is_one_builder(monkeypatch, tmp_path):
    """A network outside torchvision, with its own stride, by hand: f = ReLU(2x), the mean colour doubled."""

    def build(_name: str) -> Blueprint:
        net = nn.Sequential()
        net.add_module("conv", nn.Conv2d(3, 1, 4, stride=4, bias=False))
        net.add_module("relu", nn.ReLU())
        net.add_module("fc", nn.Linear(1, 9))
        return Blueprint(net, ("conv", "relu"), "fc.weight", stride=4)

    monkeypatch.setattr("lpcam.backbones.resnet50.build", build)
    path = tmp_path / "tiny.pth"
    state = {"conv.weight": torch.full((1, 3, 4, 4), 2 / 48), "fc.weight": torch.tensor([[1.0], [-1.0]])}
    torch.save(state, path)
    model = load_classifier("resnet50", path)
    assert (model.stride, model.channels, model.num_classes) == (4, 1, 2)
    assert model.features(torch.full((1, 3, 4, 8), 0.5)).flatten().tolist() == pytest.approx([1.0, 1.0])
    assert model.features(torch.full((1, 3, 4, 4), -0.5)).item() == 0
    with pytest.raises(LpcamError, match="has no ImageNet weights"):
        load_classifier("resnet50", "imagenet")


def test_an_unusable_device_is_one_line(mobilenet):
    with pytest.raises(LpcamError, match="cannot use device 'toaster'") as caught:
        load_classifier("torchvision/mobilenet_v2", mobilenet[1], device="toaster")
    assert "\n" not in str(caught.value)


def test_naming_the_architectures_does_not_import_torch():
    code = (
        "import sys, json, lpcam.backbones as b; b.ARCHITECTURES, b.__all__;"
        "print(json.dumps([m for m in ('torch', 'torchvision', 'numpy') if m in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        __import__("lpcam.backbones").backbones.nothing  # noqa: B018


# --- the IRN family's ResNet-50 ----------------------------------------------------------------------------


class IrnNet(nn.Module):
    """Registers one ResNet-50 under the names IRN's checkpoints have."""

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__()
        self.resnet50 = net
        self.stage1 = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
        self.stage2 = nn.Sequential(net.layer2)
        self.stage3 = nn.Sequential(net.layer3)
        self.stage4 = nn.Sequential(net.layer4)
        self.classifier = nn.Conv2d(2048, classes, 1, bias=False)
        self.backbone = nn.ModuleList([self.stage1, self.stage2, self.stage3, self.stage4])
        self.newly_added = nn.ModuleList([self.classifier])


@pytest.fixture(scope="module")
def irn():
    """An IRN network of four classes with output stride 16, and its state dict."""
    net = IrnNet(network("resnet50", classes=1000), classes=4).eval()
    net.resnet50.layer4[0].conv2.stride = (1, 1)
    net.resnet50.layer4[0].downsample[0].stride = (1, 1)
    return net, net.state_dict()


@torch.no_grad()
def test_an_irn_checkpoint_gives_irns_maps(irn, tmp_path):
    net, state = irn
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "irn.pth")
    model = load_classifier("resnet50", tmp_path / "irn.pth", num_classes=4)
    assert (model.layer, model.stride, model.channels, model.num_classes) == ("layer4", 16, 2048, 4)
    features = images(65, 47)
    for stage in net.backbone:
        features = stage(features)
    assert features.shape[2:] == (5, 3)
    torch.testing.assert_close(model.features(images(65, 47)), features)
    maps = torch.einsum("nchw,kc->nkhw", model.features(images(65, 47)), model.class_weights)
    torch.testing.assert_close(maps, F.conv2d(features, net.classifier.weight), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_its_network_is_torchvisions(saved):
    """Written here so that torchvision need not be imported: the same names, draws, identity and bytes of features."""
    torch.manual_seed(5)
    theirs, next_theirs = models.resnet50(weights=None, num_classes=1).state_dict(), torch.rand(1)
    torch.manual_seed(5)
    ours, next_ours = ResNet50().state_dict(), torch.rand(1)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(next_ours, next_theirs)
    path = saved(network("resnet50", classes=4).state_dict())
    for stride in (16, 32):
        mine, other = (load_classifier(arch, path, stride=stride) for arch in ("resnet50", "torchvision/resnet50"))
        assert mine.sha256 == other.sha256
        pairs = zip(mine.levels(images(65, 47)), other.levels(images(65, 47)), strict=True)
        assert all(torch.equal(one, another) for one, another in pairs)


def test_its_imagenet_weights_are_torchvisions(monkeypatch):
    state = network("resnet50", classes=1000).state_dict()
    monkeypatch.setattr(torchvision_nets, "imagenet_tensors", lambda model: {"resnet50": state}[model])
    assert load_classifier("resnet50", "imagenet").num_classes == 1000


def test_every_key_family_is_the_same_classifier(irn, tmp_path):
    _, state = irn
    plain = {key.removeprefix("resnet50."): value for key, value in state.items() if key.startswith("resnet50.")}
    plain["fc.weight"] = state["classifier.weight"][:, :, 0, 0]
    families = {
        "stages": {key: value for key, value in state.items() if key.startswith(("stage", "classifier"))},
        "lists": {key: value for key, value in state.items() if key.startswith(("backbone", "newly_added"))},
        "torchvision": {key: value for key, value in plain.items() if not key.endswith("num_batches_tracked")},
    }
    prints = set()
    for name, family in families.items():
        torch.save({"net": family}, tmp_path / f"{name}.pth")
        prints.add(load_classifier("resnet50", tmp_path / f"{name}.pth").sha256)
    assert len(prints) == 1


def amn_stage_2(state):
    """AMN's second network: the same trunk, a label encoder, and a head that is no matrix."""
    trunk = {key: value for key, value in state.items() if not key.startswith(("classifier.", "newly_added."))}
    aspp = {f"{prefix}.c0.weight": torch.ones(5, 2048, 3, 3) for prefix in ("classifier.1", "newly_added.0.1")}
    return {**trunk, **aspp, "label_enc.weight": torch.ones(2048, 4), "newly_added.1.weight": torch.ones(2048, 4)}


SIDES = {  # of SIPE, by stage
    index: torch.zeros(out, channels, 1, 1)
    for index, (out, channels) in enumerate(((128, 256), (128, 512), (256, 1024), (256, 2048)), 1)
}
IRN_FAMILY = {  # repository: what it saves, from the state dict of IRN's network
    "IRN": lambda state: {f"module.{key}": value for key, value in state.items()},
    "LPCAM": lambda state: state,
    "ReCAM": lambda state: {**state, "recam_predictor.classifier.weight": torch.zeros(4, 2048, 1, 1)},
    "AdvCAM": lambda state: {"state_dict": state},
    "AMN-1": lambda state: {f"module.{key}": value for key, value in state.items()},
    "SIPE": lambda state: {
        "net": {
            **state,
            "resnet50.fc.weight": torch.zeros(1000, 2048),
            **{f"{prefix}{index}.weight": side for prefix in ("side", "newly_added.") for index, side in SIDES.items()},
        },
        "iter": 3,
    },
}


@torch.no_grad()
@pytest.mark.parametrize("repository", IRN_FAMILY)
def test_a_checkpoint_of(repository, irn, saved):
    net, state = irn
    model = load_classifier("resnet50", saved(IRN_FAMILY[repository](state)), num_classes=4)
    assert torch.equal(model.class_weights, net.classifier.weight[:, :, 0, 0])
    features = net.stage4(net.stage3(net.stage2(net.stage1(images(33, 47)))))
    torch.testing.assert_close(model.features(images(33, 47)), features)


def test_amn_stage_2_needs_a_head_of_its_own(irn, saved, tmp_path):
    path = saved(amn_stage_2(irn[1]))
    with pytest.raises(LpcamError, match=r"no class weights 'fc.weight': give them with --head FILE"):
        load_classifier("resnet50", path)
    np.save(tmp_path / "head.npy", np.ones((4, 2048), np.float32))
    assert load_classifier("resnet50", path, head=tmp_path / "head.npy").num_classes == 4


def test_prefixes_that_disagree_are_refused(irn, tmp_path):
    _, state = irn
    changed = {**state, "stage1.1.bias": state["stage1.1.bias"] + 1}
    torch.save(changed, tmp_path / "two.pth")
    with pytest.raises(LpcamError, match=r"two different tensors for bn1.bias \('backbone.0.1.bias' and 'stage1"):
        load_classifier("resnet50", tmp_path / "two.pth")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("resnet50.conv1.weight", "conv1.weight"),
        ("stage1.0.weight", "conv1.weight"),
        ("backbone.0.0.weight", "conv1.weight"),
        ("stage1.1.running_var", "bn1.running_var"),
        ("stage1.4.2.conv3.weight", "layer1.2.conv3.weight"),
        ("stage4.0.0.downsample.1.bias", "layer4.0.downsample.1.bias"),
        ("backbone.2.0.5.bn1.weight", "layer3.5.bn1.weight"),
        ("classifier.weight", "fc.weight"),
        ("newly_added.0.weight", "fc.weight"),
        ("fc.weight", "fc.weight"),
        ("resnet50.fc.bias", None),
        ("newly_added.2.weight", None),
        ("label_enc.weight", None),
        ("classifier.1.c0.bias", None),
        ("something.else", "something.else"),
    ],
)
def test_key_families(key, name):
    assert canonical_name(key) == name


# --- real weights ------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "stride", "classes"), [("mobilenet_v2_voc20.pth", 16, 20), ("mobilenet_v2_imagenet.pth", 32, 1000)]
)
def test_the_shared_checkpoints(file, stride, classes, real_data):
    path = real_data / "data" / "weights" / file
    model = load_classifier("torchvision/mobilenet_v2", path, stride=stride, num_classes=classes)
    assert (model.channels, model.num_classes, model.stride) == (1280, classes, stride)
    assert model.features(images(64, 64)).isfinite().all()
