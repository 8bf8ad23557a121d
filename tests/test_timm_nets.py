"""timm/NAME: features and class weights agree with timm's own logits and tokens; what cannot be said is refused."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from lpcam.backbones import load_classifier
from lpcam.backbones.patches import PatchGrid, token_grid, whole_patches
from lpcam.errors import LpcamError

timm = pytest.importorskip("timm", reason="needs the timm extra")

AVERAGED = [
    "test_resnet",
    "test_efficientnet",
    "resnet26t",
    "swin_tiny_patch4_window7_224",
]
PER_POSITION = ["test_convnext", "mobilenetv3_small_050"]
CLASS_TOKEN = ["test_vit", "vit_tiny_patch16_224", "eva02_tiny_patch14_224"]


def network(name: str, **options) -> nn.Module:
    """Return a timm net in eval mode whose norms are not the identity and whose bias is not zero."""
    torch.manual_seed(7)
    net = timm.create_model(name, **{"num_classes": 3, **options}).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    if isinstance(net.get_classifier(), nn.Linear):
        nn.init.normal_(net.get_classifier().weight)
        nn.init.normal_(net.get_classifier().bias)
    return net


def images(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def load(tmp_path):
    def from_file(net: nn.Module, name: str, **options):
        torch.save(
            {"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "n.pth"
        )
        return load_classifier(f"timm/{name}", tmp_path / "n.pth", **options)

    return from_file


@torch.no_grad()
@pytest.mark.parametrize("name", AVERAGED)
def test_mean_of_the_map_is_the_networks_logit(name, load):
    net = network(name)
    model = load(net, name, stride=32, num_classes=3)
    photo = images(*net.pretrained_cfg["input_size"][1:])
    expected = net(photo)
    assert expected.std() > 1e-2
    features = model.features(photo)
    assert features.dtype == torch.float32
    mine = features.mean((2, 3)) @ model.class_weights.T + net.get_classifier().bias
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", PER_POSITION)
def test_a_map_of_one_position_gives_the_networks_logit(name, load):
    net = network(name)
    model = load(net, name, stride=32)
    features = model.features(images(32, 32))
    assert features.shape[2:] == (1, 1)
    mine = features[:, :, 0, 0] @ model.class_weights.T + net.get_classifier().bias
    torch.testing.assert_close(mine, net(images(32, 32)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CLASS_TOKEN)
def test_features_of_a_vit_are_its_patch_tokens_at_their_places(name, load):
    net = network(name)
    model = load(net, name)
    patch, side = model.stride, net.pretrained_cfg["input_size"][1]
    photo = images(side, side)
    tokens = net.forward_features(photo)[:, net.num_prefix_tokens :]
    if not isinstance(getattr(net, "fc_norm", None), nn.Identity | None):
        tokens = net.fc_norm(tokens)
    features = model.features(photo)
    assert features.shape == (2, model.channels, side // patch, side // patch)
    torch.testing.assert_close(features[:, :, 2, 3], tokens[:, 2 * (side // patch) + 3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.flatten(2).mT, tokens, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.class_weights, net.get_classifier().weight)
    assert model.features(images(97, 131)).shape[2:] == (round(97 / patch), round(131 / patch))


@torch.no_grad()
def test_views_of_another_size_are_as_timm_sees_them(load):
    net = network("test_vit")
    wide = timm.create_model("test_vit", num_classes=3, dynamic_img_size=True).eval()
    wide.load_state_dict(net.state_dict())
    expected = wide.forward_features(images(64, 96))[:, 1:]
    torch.testing.assert_close(load(net, "test_vit").features(images(64, 96)).flatten(2).mT, expected)


def test_tokens_go_row_by_row_and_prefix_tokens_are_dropped_by_hand():
    assert token_grid(torch.arange(6.0).view(1, 6, 1), 2)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]

    class Means(nn.Module):  # two prefix tokens, then the mean of every 4×4 patch
        def forward(self, photo):
            patches = nn.functional.avg_pool2d(photo, 4).mean(1).flatten(1)[:, :, None]
            return torch.cat([torch.full((len(photo), 2, 1), 99.0), patches], 1)

    photo = torch.arange(6.0).view(1, 1, 2, 3).repeat_interleave(4, 2).repeat_interleave(4, 3).expand(1, 3, 8, 12)
    assert PatchGrid(Means(), 4, 2)(photo)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_grid_of_a_mirror_is_the_mirror_of_the_grid():
    photo = images(37, 42)
    torch.testing.assert_close(whole_patches(photo.flip(-1), 16), whole_patches(photo, 16).flip(-1))
    assert whole_patches(images(32, 48), 16).shape[2:] == (32, 48)


def test_pixels_are_normalised_as_the_network_was_trained(load):
    assert load(network("test_vit"), "test_vit").mean == (0.5, 0.5, 0.5)
    clip = load(network("eva02_tiny_patch14_224"), "eva02_tiny_patch14_224")
    assert clip.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))


@pytest.mark.parametrize(("name", "why"), [("test_vit3", "attn_pool"), ("caformer_s18", "MlpHead")])
def test_a_head_that_is_no_matrix_is_refused_and_replaced_by_a_file(name, why, load, tmp_path):
    net = network(name)
    with pytest.raises(LpcamError, match=rf"{why}.*--head FILE$"):
        load(net, name)
    torch.save(net.state_dict(), tmp_path / "n.pth")
    np.save(tmp_path / "head.npy", np.ones((5, net.num_features), np.float32))
    model = load_classifier(f"timm/{name}", tmp_path / "n.pth", head=tmp_path / "head.npy")
    assert (model.num_classes, model.channels) == (5, net.num_features)
    assert model.features(images(64, 64)).isfinite().all()


CLIP = "vit_xsmall_patch16_clip_224"


@torch.no_grad()
def test_text_embeddings_are_compared_where_clip_compares_them(tmp_path):
    net = network(CLIP, num_classes=32)
    torch.save(net.state_dict(), tmp_path / "clip.pth")
    text = 9 * torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    np.save(tmp_path / "text.npy", text.numpy())
    model = load_classifier(f"timm/{CLIP}", tmp_path / "clip.pth", head=tmp_path / "text.npy", num_classes=3)
    assert (model.channels, model.layer, model.stride) == (32, "projection", 16)
    photo = images(224, 224)
    features = model.features(photo)
    maps = torch.einsum("nchw,kc->nkhw", features, model.class_weights)
    tokens = net.head(net.forward_features(photo)[:, 1:])
    cosines = nn.functional.cosine_similarity(tokens[:, :, None], text[None, None], dim=3)
    torch.testing.assert_close(maps.flatten(2).mT, cosines, rtol=1e-4, atol=1e-5)
    assert cosines.std() > 0.05
    scaled = load_classifier(f"timm/{CLIP}", tmp_path / "clip.pth", head=tmp_path / "text.npy")
    assert scaled.sha256 == model.sha256


@torch.no_grad()
def test_a_probe_of_clips_patch_tokens_multiplies_them_as_they_are(tmp_path):
    net = network(CLIP, num_classes=32)
    torch.save(net.state_dict(), tmp_path / "clip.pth")
    np.save(tmp_path / "probe.npy", np.eye(4, net.num_features, dtype=np.float32))
    model = load_classifier(f"timm/{CLIP}", tmp_path / "clip.pth", head=tmp_path / "probe.npy")
    assert (model.channels, model.layer) == (net.num_features, "trunk")
    assert torch.equal(model.class_weights, torch.eye(4, net.num_features))
    np.save(tmp_path / "odd.npy", np.ones((4, 7), np.float32))
    with pytest.raises(LpcamError, match=rf"7 columns: give 32 \(text embeddings.*or {net.num_features} \(a probe"):
        load_classifier(f"timm/{CLIP}", tmp_path / "clip.pth", head=tmp_path / "odd.npy")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/resnet1", r"unknown architecture 'timm/resnet1': did you mean 'timm/resnet"),
        ("timm/", "unknown architecture"),
        ("timm", "unknown architecture"),
        ("timm/beit_base_patch16_224", r"one size only \(.*\): choose a network"),
        ("timm/deit_tiny_distilled_patch16_224", "gives no map of local features: choose another"),
        ("timm/efficientvim_m1", "gives no map of local features"),
        ("timm/mobilenetv5_300m_enc", "has no classifier: choose another"),
        ("timm/resnetblur18", "output stride 16 is not possible here: give --stride 32"),
        ("timm/inception_v3", "output stride 16 is not possible here: give --stride 37"),
        ("timm/nasnetalarge", "nowhere.pth does not exist"),
        ("timm/hieradet_small", "nowhere.pth does not exist"),
    ],
)
def test_what_cannot_be_used_is_one_line(name, said):
    with pytest.raises(LpcamError, match=said) as caught:
        load_classifier(name, "nowhere.pth")
    assert "\n" not in str(caught.value)


def test_a_stride_that_a_vit_has_not(load):
    with pytest.raises(LpcamError, match="output stride 8 is not possible here: give --stride 16"):
        load(network("test_vit"), "test_vit", stride=8)


@torch.no_grad()
def test_same_padding_keeps_the_grid_of_a_dense_stage(load):
    """timm's "same" convolutions pad themselves: the border is not repeated as well."""
    model = load(network("tf_mobilenetv3_small_minimal_100"), "tf_mobilenetv3_small_minimal_100", stride=8)
    assert model.features(images(64, 100)).shape[2:] == (8, 13)


def test_imagenet_goes_through_timms_own_download(monkeypatch):
    created = timm.create_model
    wanted = network("test_resnet", num_classes=10)

    def downloaded(name, *, pretrained=False, **options):
        return wanted if pretrained else created(name, **options)

    monkeypatch.setattr(timm, "create_model", downloaded)
    model = load_classifier("timm/test_resnet.r160_in1k", "imagenet")
    assert torch.equal(model.class_weights, wanted.get_classifier().weight)


def test_offline_is_one_line(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        LpcamError, match=r"cannot get timm's weights of test_resnet \(.+\): save model.state_dict"
    ) as caught:
        load_classifier("timm/test_resnet", "imagenet")
    assert "\n" not in str(caught.value)


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LpcamError, match=r"pip install 'lpcam\[timm\]'"):
        load_classifier("timm/test_resnet", "nowhere.pth")
