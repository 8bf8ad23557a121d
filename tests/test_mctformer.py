"""MCTformer's DeiT-S: shapes by hand, its checkpoint with class tokens and 3×3 head, equal patch tokens."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lpcam import corridor
from lpcam.backbones import load_classifier
from lpcam.backbones.mctformer import build, class_matrix
from lpcam.errors import LpcamError
from lpcam.forward import Forward, Loaded
from lpcam.generate import activation_maps
from lpcam.methods.attention import guide
from lpcam.methods.cam import Cam
from lpcam.pickles import load_dictionary
from lpcam.profiles import get_profile
from lpcam.records import Photo, ViewFeatures
from lpcam.sources import ClassifierSource
from lpcam.views import merge_scales
from lpcam.workspace import Workspace
from tests.tiny import tiny_classifier

CLASSES = 5


@pytest.fixture(scope="module")
def state():
    """A checkpoint with MCTformer's names, written out by hand."""
    generator = torch.Generator().manual_seed(2)

    def values(*shape: int, scale: float = 0.05) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    tensors = {
        "cls_token": values(1, CLASSES, 384),
        "pos_embed": values(1, CLASSES + 196, 384),
        "patch_embed.proj.weight": values(384, 3, 16, 16),
        "patch_embed.proj.bias": values(384),
        "norm.weight": torch.ones(384),
        "norm.bias": torch.zeros(384),
        "head.weight": values(CLASSES, 384, 3, 3),
        "head.bias": values(CLASSES),
    }
    for block in (f"blocks.{index}" for index in range(12)):
        for layer, outputs, inputs in (
            ("attn.qkv", 1152, 384),
            ("attn.proj", 384, 384),
            ("mlp.fc1", 1536, 384),
            ("mlp.fc2", 384, 1536),
        ):
            tensors |= {f"{block}.{layer}.weight": values(outputs, inputs), f"{block}.{layer}.bias": values(outputs)}
        for norm in ("norm1", "norm2"):
            tensors |= {f"{block}.{norm}.weight": 1 + values(384), f"{block}.{norm}.bias": values(384)}
    return tensors


@pytest.fixture(scope="module")
def model(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mct.pth"
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return load_classifier("mctformer", path, num_classes=CLASSES)


def transcribed(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The patch tokens of a 14×14 grid, attention written out head by head."""
    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 16).flatten(2).mT
    x = torch.cat([state["cls_token"].expand(len(images), -1, -1), patches], 1) + state["pos_embed"]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (384,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    for block in (f"blocks.{index}" for index in range(12)):
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x)).chunk(3, dim=2)
        heads = [slice(64 * head, 64 * head + 64) for head in range(6)]
        mixed = [torch.softmax(q[..., part] @ k[..., part].mT / 8, -1) @ v[..., part] for part in heads]
        x = x + linear(f"{block}.attn.proj", torch.cat(mixed, 2))
        x = x + linear(f"{block}.mlp.fc2", F.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))))
    return x[:, CLASSES:]


@torch.no_grad()
def test_features_are_the_patch_tokens(model, state):
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    assert (model.stride, model.channels, model.num_classes, model.minimum_side) == (16, 384, CLASSES, 16)
    features = model.features(images)
    assert features.shape == (1, 384, 14, 14)
    expected = transcribed(state, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(features.flatten(2).mT, expected, rtol=1e-4, atol=1e-4)


def test_views_of_any_size_have_their_grid(model):
    for (height, width), grid in (((97, 130), (6, 8)), ((16, 40), (1, 2)), ((250, 224), (16, 14))):
        assert model.features(torch.zeros(1, 3, height, width)).shape[2:] == grid


@torch.no_grad()
def test_what_stands_for_w_is_the_response_to_a_constant_map(model, state):
    constant = torch.randn(384, generator=torch.Generator().manual_seed(6))
    response = F.conv2d(constant[None, :, None, None].expand(1, -1, 3, 3), state["head.weight"])[0, :, 0, 0]
    torch.testing.assert_close(model.class_weights @ constant, response, rtol=1e-4, atol=1e-4)
    assert class_matrix(torch.arange(18.0).view(2, 1, 3, 3), None).tolist() == [[36.0], [117.0]]


def test_shapes_by_hand():
    with torch.device("meta"):
        network = build("mctformer").network
    block = 1152 * 384 + 1152 + 384 * 384 + 384 + 2 * 4 * 384 * 384 + 1536 + 384 + 4 * 384
    expected = 12 * block + 20 * 384 + (20 + 196) * 384 + 384 * 768 + 384
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_another_number_of_classes_is_refused(state, tmp_path):
    torch.save(state, tmp_path / "mct.pth")
    with pytest.raises(LpcamError, match=f"the class weights are for {CLASSES} classes, the data set has 20"):
        load_classifier("mctformer", tmp_path / "mct.pth", num_classes=20)


@torch.no_grad()
def test_attention_is_that_of_the_blocks(model, state):
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    features, seen = model.attend(images)
    torch.testing.assert_close(features, model.features(images), rtol=1e-4, atol=1e-4)
    assert seen.to_patches.shape == (2, CLASSES, 14, 14)
    assert seen.among_patches.shape == (2, 196, 196)
    net = model.stages[0].net
    everything = net.attend(images)[1]  # the mean of six heads, summed over twelve blocks: rows sum to 12
    torch.testing.assert_close(everything.sum(-1), torch.full((2, CLASSES + 196), 12.0))
    assert torch.equal(seen.to_patches[:, :, 2, 3], everything[:, :CLASSES, CLASSES + 2 * 14 + 3])
    tokens = net._first_tokens(images)
    query, key, _ = torch.nn.functional.linear(
        net.blocks[0].norm1(tokens), state["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.bias"]
    ).chunk(3, 2)
    first = torch.softmax(query[0, :, :64] @ key[0, :, :64].T / 8, -1)
    torch.testing.assert_close(net.blocks[0].attn.weights(net.blocks[0].norm1(tokens))[0, 0], first)


def test_a_network_without_class_tokens_says_so():
    net = tiny_classifier([[1.0, 0.0, 0.0]])
    with pytest.raises(LpcamError, match=r"tiny has no attention .*: leave --attention out"):
        net.attend(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("size", [1, 2])
def test_generate_puts_attention_on_the_maps_of_a_method(model, size):
    """At one scale, by the parts it is made of; photos of a batch keep their own."""
    forward = Forward(model, [1.0])
    photos = tuple(Photo(str(index), Path("none.jpg"), (1, 3)) for index in range(size))
    views = torch.randn(size, 3, 48, 64, generator=torch.Generator().manual_seed(5))
    loaded = Loaded(photos, (48, 64), (views,))
    made = {
        how: activation_maps(forward, loaded, {"cam": Cam(model.class_weights)}, how)["cam"] for how in (None, "fuse")
    }
    for index in range(size):
        both = torch.stack([views[index], views[index].flip(-1)])
        features, seen = model.attend(both)
        maps = guide(Cam(model.class_weights).view_maps(ViewFeatures(features), (1, 3)), seen, (1, 3), "fuse")
        expected = merge_scales([maps], (1, 3), (48, 64), Cam.epsilon).high_res
        torch.testing.assert_close(made["fuse"][index].high_res, expected, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(made[None][index].high_res, expected, atol=0.05)


def test_the_corridor_with_attention(state, tmp_path, voc_root, data):
    two = {**state, "cls_token": state["cls_token"][:, :2], "head.weight": state["head.weight"][:2]}
    two["pos_embed"] = torch.cat([state["pos_embed"][:, :2], state["pos_embed"][:, CLASSES:]], 1)
    torch.save(two, tmp_path / "two.pth")
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, ClassifierSource("mctformer", tmp_path / "two.pth"), scales=(1.0,))
    report = corridor.cluster(workspace, profile=get_profile(k=2, iterations=5))
    assert report.filter == "rank"
    seeds = {}
    for how in (None, "refine"):
        folder = tmp_path / f"seeds-{how}"
        assert corridor.generate(workspace, attention=how, out=folder).images == 6
        seeds[how] = load_dictionary(folder / "2007_000000.npy")["high_res"]
    assert not (seeds[None] == seeds["refine"]).all()
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.generate(workspace, attention="fuse", out=tmp_path / "seeds-None")
    with pytest.raises(LpcamError, match="unknown attention 'fused': did you mean 'fuse'"):
        corridor.generate(workspace, attention="fused")


def test_attention_is_refused_before_anything_is_written(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=(1.0,))
    with pytest.raises(LpcamError, match="demo has no attention"):
        corridor.generate(workspace, methods=("cam",), attention="fuse", out=tmp_path / "seeds")
    assert not (tmp_path / "seeds").exists()
