"""live: maps on paper, `lpcam generate`'s maps and `lpcam cluster`'s prototypes, from a module of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset

import lpcam
from lpcam import corridor
from lpcam.backbones.demo import DemoNet
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.live.choices import class_of
from lpcam.live.heads import find_head, identity
from lpcam.live.labels import labels_of, labels_of_batch
from lpcam.methods.cam import class_activation
from lpcam.methods.lpcam import prototype_activation
from lpcam.profiles import get_profile
from lpcam.prototypes import Centres, Prototypes, Provenance
from lpcam.records import Execution
from lpcam.views import normalise, sum_high_res
from lpcam.workspace import Workspace

ROOT = Path(__file__).parents[1]
SCALES = (1.0, 0.5)
PROFILE = get_profile("voc", k=3, iterations=20)


class UserNet(nn.Module):
    """Somebody's classifier; its tensors have the names of the demo's checkpoint."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.features = DemoNet().features
        self.fc = nn.Linear(512, classes)

    def forward(self, images):
        return self.fc(self.features(images).mean(dim=(2, 3)))


@pytest.fixture
def net(checkpoint) -> UserNet:
    """The user's classifier with the checkpoint's tensors, built and trained by somebody else's program."""
    model = UserNet().eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True), strict=False)
    return model


@pytest.fixture
def run(tmp_path, data, classifier) -> Workspace:
    """The corridor on the same photos, its network as it is."""
    workspace, execution = Workspace(tmp_path / "w"), Execution(runtime="torch")
    options = {"methods": ("cam", "lpcam"), "scales": SCALES, "profile": PROFILE}
    corridor.run(workspace, data, classifier, execution=execution, **options)
    return workspace


def photos_of(data) -> list[torch.Tensor]:
    """The photos as a program reads them: uint8 [3, H, W]."""
    return [torch.from_numpy(read_photo(photo.path)).permute(2, 0, 1) for photo in data.open().photos]


def by_hand(*classes: tuple[list[list[float]], list[list[float]]], **provenance) -> Prototypes:
    """Prototypes of classes given as (class prototypes, context prototypes)."""
    centres = []
    for objects, context in classes:
        vectors = torch.tensor([*objects, *context])
        is_object = torch.arange(len(vectors)) < len(objects)
        ones = torch.ones(len(vectors))
        centres.append(Centres(vectors, is_object, ones.bool(), ones, ones.long(), 1, 1, fallback=False))
    names = tuple(f"class {index}" for index in range(len(classes)))
    return Prototypes(tuple(centres), Provenance(names, **provenance))


def pixel_net() -> nn.Sequential:
    """Its features are the pixels (those above 0)."""
    return nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2, bias=False))


RED_NOT_GREEN = ([[9.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]])
BLUE = ([[0.0, 0.0, 1.0]], [])


def test_on_paper():
    images = torch.zeros(1, 3, 16, 16)
    images[0, :, 0, 0], images[0, :, 0, 1], images[0, :, 0, 2] = torch.tensor([[5.0, 0, 0], [4, 3, 0], [3, 4, 12]])
    with lpcam.LPCAM(pixel_net(), target_layer="0", prototypes=by_hand(RED_NOT_GREEN, BLUE)) as cam:
        (maps,) = cam(images, class_idx=[[0, 1]])
    assert maps.shape == (2, 16, 16)
    assert maps.dtype == torch.float32
    # v = (1, -1, 0): (5,0,0) → 1, (4,3,0) → (4-3)/5, (3,4,12) → below 0. Blue: 12/13 is the only one, so the maximum.
    assert maps[0, 0, :4].tolist() == pytest.approx([1.0, 0.2, 0.0, 0.0], abs=1e-6)
    assert maps[1, 0, :4].tolist() == pytest.approx([0.0, 0.0, 1.0, 0.0], abs=1e-6)
    assert float(maps[:, 1:].abs().max()) == 0


def test_with_the_same_features_maps_are_those_of_the_methods(net):
    images, folded_for = (
        torch.randn(2, 3, 48, 64),
        by_hand(*[(torch.rand(3, 512).tolist(), torch.rand(2, 512).tolist())] * 2),
    )
    with torch.no_grad():
        features = net.features(images)
    (lpcam_maps, _), (cam_maps, _) = (
        lpcam.LPCAM(net, "features", prototypes=folded_for)(images, [[1, 0], [0]]),
        lpcam.CAM(net, "features")(images, [[1, 0], [0]]),
    )
    expected = prototype_activation(features[:1], folded_for.folded())[0, [1, 0]]
    assert torch.allclose(lpcam_maps, normalise(sum_high_res([expected], (48, 64))), atol=1e-6)
    expected = class_activation(features[:1], net.fc.weight.detach())[0, [1, 0]]
    assert torch.allclose(cam_maps, normalise(sum_high_res([expected], (48, 64)), 1e-5), atol=1e-6)


@pytest.mark.parametrize("layer", ["features", "features.3", "module"])
def test_all_scales_are_the_maps_of_lpcam_generate(run, data, net, layer):
    layer = net.features[3][2] if layer == "module" else layer
    options = {"target_layer": layer, "scales": SCALES, "mirror": True}
    photos, labels = photos_of(data), [photo.labels for photo in data.open().photos]
    with lpcam.LPCAM(net, prototypes=run.prototypes, **options) as lpcams, lpcam.CAM(net, **options) as cams:
        found = {"lpcam": lpcams(photos, labels), "cam": cams(photos, labels)}
    for method, maps in found.items():
        for photo, of_photo in zip(data.open().photos, maps, strict=True):
            seed = np.load(run.seeds(method, "irn") / f"{photo.name}.npy", allow_pickle=True).item()
            assert np.abs(of_photo.numpy() - seed["high_res"]).max() < 1e-5, (method, photo.name)


def test_normalised_floats_are_resized_as_the_photos_are(run, data, net):
    photo = photos_of(data)[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normalised = (photo / 255 - mean) / std
    with lpcam.LPCAM(net, prototypes=run.prototypes, scales=SCALES, mirror=True) as cam:
        (floats,), (bytes_,) = cam(normalised[None], 0), cam(photo[None], 0)
    assert (floats - bytes_).abs().max() < 0.03  # PIL rounds the resized photo to 8 bits


def equal(one: Prototypes, other: Prototypes) -> bool:
    return all(
        torch.equal(getattr(mine, name), getattr(theirs, name))
        for mine, theirs in zip(one.centres, other.centres, strict=True)
        for name in ("vectors", "is_object", "selected", "scores", "sizes")
    )


class Photos(Dataset):
    """A torch Dataset of (uint8 photo, class indices)."""

    def __init__(self, data) -> None:
        self.photos, self.labels = photos_of(data), [list(photo.labels) for photo in data.open().photos]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index):
        return self.photos[index], self.labels[index]


def test_built_prototypes_are_the_corridors_to_the_byte(run, data, net, classifier):
    stored = Prototypes.load(run.prototypes)
    options = {"classes": ("sheep", "train"), "profile": PROFILE, "scales": SCALES}
    ours = net.to(memory_format=torch.channels_last)  # as the corridor computes
    built = lpcam.build_prototypes(ours, Photos(data), target_layer="features.3", **options)
    assert equal(built, stored)
    made, expected = built.provenance, stored.provenance
    for name in ("classes", "weights_sha256", "layer", "stride", "profile", "seed"):
        assert getattr(made, name) == getattr(expected, name), name
    loaded = classifier.load(2, "cpu").to(memory_format=torch.channels_last)
    again = lpcam.build_prototypes(loaded, [(Photos(data).photos, Photos(data).labels)], **options)
    assert equal(again, stored)
    assert again.provenance.arch == "demo"


def test_built_prototypes_go_through_a_file_and_make_the_same_maps(data, net, tmp_path):
    built = lpcam.build_prototypes(
        net, Photos(data), target_layer="features", profile=PROFILE, scales=(1,), mirror=False
    )
    built.save(tmp_path / "p.safetensors")
    assert Prototypes.load(tmp_path / "p.safetensors").sha256 == built.sha256
    images = torch.randn(1, 3, 40, 40)
    (from_file,) = lpcam.LPCAM(net, prototypes=tmp_path / "p.safetensors")(images, 1)
    (from_memory,) = lpcam.LPCAM(net, prototypes=built)(images, 1)
    assert torch.equal(from_file, from_memory)


def test_every_form_of_loader_gives_the_same_prototypes(net):
    images, hot = torch.randn(6, 3, 40, 48), torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 1]])
    lists = [row.nonzero()[:, 0].tolist() for row in hot]

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(zip(images, hot.float(), strict=True))

    class Samples(Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return images[index], hot[index]

    loaders = (
        DataLoader(Samples(), batch_size=1),
        Samples(),
        Stream(),
        [(image[None], [entry]) for image, entry in zip(images, lists, strict=True)],
        [(list(images), hot.numpy())],
    )
    options = {"target_layer": "features", "profile": PROFILE, "dtype": "float32"}
    first, *others = (lpcam.build_prototypes(net, loader, **options) for loader in loaders)
    assert sum(len(centres.vectors) for centres in first.centres) >= 6
    assert all(equal(first, other) for other in others)
    in_one_batch = lpcam.build_prototypes(net, DataLoader(Samples(), batch_size=6), **options)
    assert torch.allclose(in_one_batch.folded(), first.folded(), atol=1e-4)


def test_classes_in_every_form(net):
    cam, images = lpcam.CAM(net, "features"), torch.randn(2, 3, 40, 48)
    wanted = cam(images, [[0, 1], []])
    assert [tuple(maps.shape) for maps in wanted] == [(2, 40, 48), (0, 40, 48)]
    assert torch.equal(cam(images, 1)[0], wanted[0][1:])
    assert torch.equal(cam(images, [0, 1])[0], wanted[0][:1])
    assert torch.equal(cam(images, torch.tensor([[0, 1], [1, 0]]))[0], wanted[0])
    assert torch.allclose(cam([images[0], images[1, :, :33]], [1, 0])[0], wanted[0][1:], atol=1e-5)
    with torch.no_grad():
        predicted = net(images).argmax(dim=1).tolist()
    assert torch.equal(cam(images)[0], wanted[0][predicted[0]][None])
    assert cam(images[:0]) == []


class CategoryTarget:
    """Written as pytorch-grad-cam's targets are."""

    def __init__(self, category, score=lambda logits, category: logits[category]):
        self.category, self.score = category, score

    def __call__(self, logits):
        return self.score(logits, self.category)


def test_targets_of_grad_cam(net):
    cam, images = lpcam.CAM(net, "features"), torch.randn(2, 3, 40, 48)
    assert torch.equal(cam(images, targets=[CategoryTarget(1), CategoryTarget(0)])[1], cam(images, [1, 0])[1])
    assert torch.equal(cam(images, targets=CategoryTarget(1))[1], cam(images, 1)[1])
    assert class_of(CategoryTarget(1, lambda logits, k: logits.softmax(0)[k]), 2) == 1
    for target in (CategoryTarget(1, lambda logits, _: logits), CategoryTarget(1, lambda logits, _: -logits[1]), abs):
        with pytest.raises(LpcamError, match="does not mean one class: give ClassifierOutputTarget"):
            cam(images, targets=[target, target])


BAD_CALLS = {
    "class 2 does not exist: choose from 0 to 1": (torch.zeros(1, 3, 32, 32), {"class_idx": 2}),
    "classes for 2 images are given and there are 1": (torch.zeros(1, 3, 32, 32), {"class_idx": [0, 1]}),
    "class 0.5 is not an index": (torch.zeros(1, 3, 32, 32), {"class_idx": [[0.5]]}),
    "both class_idx and targets": (torch.zeros(1, 3, 32, 32), {"class_idx": 0, "targets": CategoryTarget(0)}),
    r"images is \[3, 32, 32\], not a tensor \[N, 3, H, W\]: for one image": (torch.zeros(3, 32, 32), {}),
    "an image of a list is str": (["a.jpg"], {}),
    "of torch.int64: give floats": (torch.zeros(1, 3, 32, 32, dtype=torch.int64), {}),
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_calls_that_cannot_be_answered(net, message):
    images, options = BAD_CALLS[message]
    with pytest.raises(LpcamError, match=message):
        lpcam.CAM(net, "features")(images, **options)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_the_model_is_left_as_it_was(net):
    net.train()
    net.features[1].eval()
    net.fc.weight.requires_grad_(False)
    net.features[0][0].weight.grad = torch.ones_like(net.features[0][0].weight)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    with lpcam.CAM(net, "features") as cam:
        assert hooks_of(net) == 0
        (maps,) = cam(torch.randn(1, 3, 40, 40), 0)
        assert hooks_of(net) == 0
    assert not maps.requires_grad
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["features.0.0.weight"]
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["fc.weight"]
    with pytest.raises(LpcamError, match="CAM was closed: make a new one"):
        cam(torch.randn(1, 3, 40, 40), 0)


def test_an_error_of_the_model_leaves_no_hook(net):
    net.train()
    with pytest.raises(RuntimeError, match="channels"), lpcam.CAM(net, "features") as cam:
        cam(torch.randn(1, 5, 40, 40), 0)
    assert hooks_of(net) == 0
    assert net.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_keeps_its_number_format(net, dtype):
    images = torch.randn(1, 3, 40, 40)
    (expected,) = lpcam.CAM(net, "features")(images, 0)
    (found,) = lpcam.CAM(net.to(dtype), "features")(images, 0)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < (1e-5 if dtype == torch.float64 else 0.1)
    assert next(net.parameters()).dtype == dtype


class Tokens(nn.Module):
    """A transformer in miniature: a class token before 4×4 px patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))
        return SimpleNamespace(logits=self.head(tokens[:, 0]))


def grid(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


def test_a_transformer_needs_a_reshape_transform():
    model, images = Tokens(), torch.randn(2, 3, 16, 16)
    with pytest.raises(LpcamError, match=r"layer 'norm' gives \[2, 17, 8\], not \[N, C, h, w\]: .*reshape_transform"):
        lpcam.CAM(model, "norm")(images)
    options = {"target_layer": "norm", "reshape_transform": grid}
    prototypes = lpcam.build_prototypes(model, [(images, [[0], [0, 1]])], scales=(1,), **options)
    assert prototypes.provenance.stride == 4
    (maps, _) = lpcam.LPCAM(model, prototypes=prototypes, **options)(images)
    assert maps.shape == (1, 16, 16)
    assert 0 <= maps.min() <= maps.max() <= 1


def test_prototypes_of_another_model_are_refused_and_may_be_waived(net):
    made = {"weights_sha256": identity(net, find_head(net)), "layer": "features", "stride": 8}
    vectors = (torch.rand(2, 512).tolist(), [])
    prototypes, images = by_hand(vectors, vectors, **made), torch.randn(1, 3, 64, 64)
    assert lpcam.LPCAM(net, prototypes=prototypes).target_layer == "features"
    with pytest.raises(LpcamError, match=r"made at layer 'features', not 'features.2': give target_layer='features'"):
        lpcam.LPCAM(net, "features.2", prototypes=prototypes)
    with pytest.raises(LpcamError, match=r"layer 'features.2' has 64 channels, but 512 are expected"):
        lpcam.LPCAM(net, "features.2", prototypes=prototypes, check_model=False)(images, 0)
    for changed in (net.features[0][0].weight, net.fc.weight):
        kept = changed.detach().clone()
        changed.data[0] += 1
        with pytest.raises(LpcamError, match="made with other weights than this model's: build prototypes"):
            lpcam.LPCAM(net, prototypes=prototypes)
        assert lpcam.LPCAM(net, prototypes=prototypes, check_model=False)(images, 0)[0].max() == 1
        changed.data.copy_(kept)
    net.features[3][0].stride = (2, 2)  # the same tensors on a coarser grid
    with pytest.raises(LpcamError, match="output stride 8, here it is 16"):
        lpcam.LPCAM(net, prototypes=prototypes)(images, 0)
    assert lpcam.LPCAM(net, prototypes=prototypes, check_model=False)(images, 0)[0].max() == 1


def test_a_matrix_from_outside_is_no_part_of_the_identity(net):
    images = torch.randn(2, 3, 40, 40)
    options = {"target_layer": "features", "profile": PROFILE, "scales": (1,)}
    for weights in (torch.rand(3, 512), torch.rand(3, 512, 1, 1), np.random.default_rng(0).random((3, 512))):
        prototypes = lpcam.build_prototypes(net, [(images, [[0], [2]])], class_weights=weights, **options)
        assert len(prototypes.centres) == 3
        assert lpcam.LPCAM(net, prototypes=prototypes)(images, 2)[0].shape == (1, 40, 40)


def test_class_weights_are_found_or_asked_for():
    trunk = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3))
    convolution = nn.Sequential(trunk, nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1))
    assert find_head(convolution).name == "1.weight"
    assert find_head(convolution).weights.shape == (4, 6)
    two = nn.ModuleDict({"trunk": trunk, "fine": nn.Linear(6, 4), "coarse": nn.Linear(6, 4)})
    with pytest.raises(LpcamError, match=r"2 layers could hold the class weights \(fine, coarse\): name one"):
        find_head(two)
    assert find_head(two, "fine").name == "fine.weight"
    assert torch.equal(find_head(two, two["fine"]).weights, two["fine"].weight)
    with pytest.raises(LpcamError, match="unknown layer of class weights 'fin': did you mean 'fine'"):
        find_head(two, "fin")
    with pytest.raises(LpcamError, match="no linear layer or 1×1 convolution: give class_weights"):
        find_head(trunk, layer=trunk)
    with pytest.raises(LpcamError, match="not part of the model"):
        find_head(two, nn.Linear(6, 4))
    with pytest.raises(LpcamError, match="layer 'trunk' has no weight"):
        find_head(two, "trunk")


def test_layers_are_found_by_name_or_module_or_asked_for(net):
    assert lpcam.CAM(net, net.features).target_layer == "features"
    with pytest.raises(LpcamError, match="unknown target layer 'featurs': did you mean 'features'"):
        lpcam.CAM(net, "featurs")
    with pytest.raises(LpcamError, match="target_layer ReLU is not part of the model"):
        lpcam.CAM(net, nn.ReLU())
    with pytest.raises(LpcamError, match="no target_layer is given"):
        lpcam.CAM(net)


def test_what_cannot_be_built(net):
    images = torch.randn(1, 3, 40, 40)
    for options, message in (
        ({"loader": []}, "the loader gives no image"),
        ({"scales": (0.5,)}, "lack 1"),
        ({"dtype": "float8"}, "unknown dtype 'float8'"),
        ({"profile": "vocc"}, "did you mean 'voc'"),
        ({"classes": ("a",)}, "1 class names are given, the class weights are for 2"),
        ({"class_weights": torch.rand(2, 7)}, "has 512 channels, but 7 are expected"),
        ({"loader": [(images, [[2]])]}, "class 2 does not exist"),
        ({"loader": [(images * float("nan"), [[0]])]}, "image 0 are not finite"),
    ):
        with pytest.raises(LpcamError, match=message):
            lpcam.build_prototypes(net, **{"loader": [(images, [[0]])], "target_layer": "features", **options})


def test_labels_in_every_form():
    assert labels_of(3, 5) == labels_of(torch.tensor(3), 5) == labels_of([3, 3], 5) == (3,)
    assert labels_of(np.array([0, 0, 1, 0, 1.0]), 5) == labels_of((4, torch.tensor(2)), 5) == (2, 4)
    assert labels_of_batch(torch.tensor([4, 0]), 2, 5) == [(4,), (0,)]
    for labels, message in (
        (torch.tensor([0, 1]), "are not 5 zeros and ones"),
        (torch.tensor([0, 2, 0, 0, 0]), "are not 5 zeros and ones"),
        (["sheep"], "label 'sheep' is not a class index"),
        ([5], "class 5 does not exist"),
    ):
        with pytest.raises(LpcamError, match=message):
            labels_of(labels, 5)
    with pytest.raises(LpcamError, match=re.escape("labels for 2 images are expected, got 1")):
        labels_of_batch([[0]], 2, 5)


def test_the_page_of_the_api_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in blocks:
            exec(compile(block, "docs/api.md", "exec"), names)  # noqa: S102
    assert "[(1, 96, 128), (2, 96, 128)]" in capsys.readouterr().out
    assert names["maps"][0].shape == (2, 90, 120)
    assert names["activation_map"][0].shape == (1, 3, 4)
    assert names["grayscale_cam"].shape == (2, 96, 128)
    assert (tmp_path / "lpcam.pt2").is_file()


def test_public_names():
    """Removing one needs an edit here, in the same change."""
    assert sorted(lpcam.__all__) == [
        *("CAM", "ClassifierSource", "DataSource", "LPCAM", "LpcamError", "PROFILES", "Profile", "Prototypes"),
        *("Workspace", "build_prototypes", "get_profile", "load_classifier"),
    ]
    assert all(getattr(lpcam, name) is not None for name in lpcam.__all__)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_maps_are_those_of_the_cpu(net):
    images = torch.randn(2, 3, 40, 40)
    prototypes = lpcam.build_prototypes(net, [(images, [[0], [1]])], target_layer="features", profile=PROFILE)
    (expected, _) = lpcam.LPCAM(net, prototypes=prototypes)(images, 0)
    (found, _) = lpcam.LPCAM(net.cuda(), prototypes=prototypes)(images, 0)
    assert found.device.type == "cuda"
    assert F.l1_loss(found.cpu(), expected) < 1e-3
