"""Checkpoints: what is read, what is refused, and how a refusal reads."""

import hashlib
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from lpcam.backbones import load_classifier
from lpcam.backbones.checkpoints import (
    canonical,
    class_weights,
    fingerprint,
    fit,
    read_checkpoint,
    read_head,
)
from lpcam.backbones.torchvision_nets import _densenet_name
from lpcam.errors import LpcamError

ARCH = "torchvision/mnasnet0_5"


def same(key: str) -> str:
    return key


@pytest.fixture(scope="module")
def state():
    """The state dict of a small network of three classes."""
    torch.manual_seed(5)
    return models.mnasnet0_5(weights=None, num_classes=3).state_dict()


@pytest.fixture
def saved(tmp_path):
    def save(content: object) -> Path:
        torch.save(content, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return save


def message(call, *arguments, **options) -> str:
    """Return the one line the user sees."""
    with pytest.raises(LpcamError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "model_state_dict"])
def test_wrappers_are_taken_off(wrapper, saved):
    path = saved({wrapper: {"a": torch.ones(2)}, "epoch": 3})
    assert list(read_checkpoint(path)) == ["a"]


def test_what_is_not_a_tensor_is_left_out(saved):
    assert list(read_checkpoint(saved({"a": torch.ones(1), "epoch": 3, "note": "x"}))) == ["a"]


def test_a_module_called_model_is_no_wrapper(saved):
    assert list(read_checkpoint(saved({"model": torch.ones(1)}))) == ["model"]


def test_prefixes_of_parallel_training_are_taken_off():
    tensors = {"module._orig_mod.a": torch.ones(1), "module.module.b": torch.ones(1), "modules.c": torch.ones(1)}
    assert sorted(canonical(tensors, same, "x")) == ["a", "b", "modules.c"]


def test_copies_of_a_tensor_must_agree():
    one = torch.ones(2, 2)
    agreeing = {"a": one, "module.a": one.clone().reshape(4)}
    assert list(canonical(agreeing, same, "x")) == ["a"]
    said = message(canonical, {"a": one, "module.a": one + 1}, same, "x.pth")
    assert said.startswith("x.pth holds two different tensors for a ('a' and 'module.a')")


def test_copies_of_nan_agree_so_that_the_nan_is_named():
    broken = torch.tensor([float("nan")])
    tensors = canonical({"a": broken, "module.a": broken.clone()}, same, "x")
    assert "NaN" in message(fit, tensors, {"a": torch.Size([1])}, "x", "y")


class Canary:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_does_more_is_refused_and_not_run(tmp_path, saved):
    said = message(read_checkpoint, saved({"a": torch.ones(1), "b": Canary(tmp_path / "sang")}))
    assert "holds more than tensors and was not unpickled: save it again" in said
    assert not (tmp_path / "sang").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_plain_pickle_is_refused_and_not_run(protocol, tmp_path, recwarn):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"b": Canary(tmp_path / "sang")}, protocol))
    assert "torch.save(model.state_dict(), path)" in message(read_checkpoint, tmp_path / "x.pth")
    assert not (tmp_path / "sang").exists()
    assert not recwarn.list
    pickle.loads((tmp_path / "x.pth").read_bytes())
    assert (tmp_path / "sang").exists()  # the canary sings where nobody guards it


def test_a_whole_pickled_model_is_refused(saved):
    assert "save it again with torch.save(model.state_dict()" in message(read_checkpoint, saved(torch.nn.ReLU()))


@pytest.mark.parametrize("name", ["x.pth", "x.pt", "x.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint at all", b"\x80\x02", b"PK\x03\x04" + bytes(64), bytes(99)]
)
def test_garbage_is_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    said = message(read_checkpoint, tmp_path / name)
    assert "damaged" in said or "more than tensors" in said


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_truncated_file_is_one_line(kind, tmp_path):
    whole, half = tmp_path / f"whole.{kind}", tmp_path / f"half.{kind}"
    (save_file if kind == "safetensors" else torch.save)({"a": torch.ones(1000)}, whole)
    half.write_bytes(whole.read_bytes()[:2000])
    assert "damaged" in message(read_checkpoint, half)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1000, 100_000),
        torch.eye(3).to_sparse(),
        torch.zeros(2, 2, dtype=torch.complex64),
        torch.zeros(2, 2, device="meta"),
        torch.quantize_per_tensor(torch.zeros(2, 2), 0.1, 0, torch.quint8),
    ],
    ids=["of one number", "sparse", "complex", "nowhere", "quantised"],
)
def test_only_dense_tensors_of_real_numbers_are_weights(tensor, saved):
    assert message(read_checkpoint, saved({"fc.weight": tensor})).endswith("torch.save(model.state_dict(), path)")


def test_a_checkpoint_may_share_a_tensor_but_not_without_end(saved):
    shared = torch.zeros(1000, 1000)
    assert len(read_checkpoint(saved({f"a{index}": shared for index in range(3)}))) == 3
    assert "not a checkpoint of tensors" in message(
        read_checkpoint, saved({f"a{index}": shared for index in range(99)})
    )


def test_whole_numbers_are_no_weights_and_real_ones_no_index_table(state, saved):
    rounded = {**state, "layers.0.weight": state["layers.0.weight"].long()}
    assert "torch.int64 for layers.0.weight, the network torch.float32" in message(
        load_classifier, ARCH, saved(rounded)
    )


def test_missing_files_folders_and_empty_checkpoints(tmp_path, saved):
    assert "does not exist: give --weights" in message(read_checkpoint, tmp_path / "none.pth")
    assert "is a folder, not a file: give --weights" in message(read_checkpoint, tmp_path)
    assert "holds no tensors" in message(read_checkpoint, saved({"epoch": 1}))
    assert "holds no tensors" in message(read_checkpoint, saved([1, 2]))


# --- fitting -----------------------------------------------------------------------------------------------


def test_a_checkpoint_that_does_not_fit_counts_and_names_each_kind(state, saved):
    wrong = {**state, "layers.0.weight": torch.ones(1, 2), "extra.a": torch.ones(1)}
    gone = [key for key in state if key.startswith("layers.14.")]
    wrong = {key: value for key, value in wrong.items() if key not in gone}
    said = message(load_classifier, ARCH, saved(wrong))
    missing = [key for key in gone if not key.endswith("num_batches_tracked")]
    assert f"does not fit {ARCH}: {len(missing)} key" in said
    assert "1 key unexpected (extra.a)" in said
    assert "; 1 key of another shape (layers.0.weight: [1, 2] in the file, [16, 3, 3, 3] in the network)" in said
    assert "is --arch right? 'lpcam inspect " in said


def test_another_architecture_is_refused(state, saved):
    said = message(load_classifier, "resnet50", saved(state))
    assert "does not fit resnet50: 265 keys missing (conv1.weight, bn1.weight, bn1.bias, …); " in said
    assert "keys unexpected (layers.0.weight, " in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["layers.0.weight", "layers.1.running_var", "classifier.1.weight"])
def test_weights_that_are_not_finite_are_refused(key, value, state, saved):
    broken = {**state, key: state[key].clone()}
    broken[key].view(-1)[-1] = value
    said = message(load_classifier, ARCH, saved(broken))
    assert "contains NaN or infinite values: take an earlier checkpoint" in said


def test_half_precision_becomes_float32(state, saved):
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    model = load_classifier(ARCH, saved(half))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.class_weights, state["classifier.1.weight"].half().float())


def test_a_linear_layer_is_reshaped_to_its_convolution():
    matrix = torch.arange(36.0).reshape(2, 18)
    fitted = fit({"a": matrix}, {"a": torch.Size([2, 2, 3, 3])}, "x", "y")
    assert torch.equal(fitted["a"], matrix.reshape(2, 2, 3, 3))
    assert "[2, 18] in the file, [3, 2, 3, 2]" in message(fit, {"a": matrix}, {"a": torch.Size([3, 2, 3, 2])}, "x", "y")


def test_old_densenet_names():
    old = "features.denseblock1.denselayer12.norm.1.weight"
    assert _densenet_name(old) == "features.denseblock1.denselayer12.norm1.weight"
    new = "features.denseblock1.denselayer12.conv2.weight"
    assert _densenet_name(new) == new


# --- class weights -----------------------------------------------------------------------------------------


def test_the_number_of_classes_is_the_heads(state, saved):
    path = saved(state)
    assert load_classifier(ARCH, path).num_classes == 3
    said = message(load_classifier, ARCH, path, num_classes=20)
    assert said.startswith("the class weights are for 3 classes, the data set has 20: ")


def test_a_checkpoint_without_a_head_needs_one(state, saved, tmp_path):
    headless = {key: value for key, value in state.items() if not key.startswith("classifier")}
    path = saved(headless)
    assert "has no class weights 'classifier.1.weight': give them with --head" in message(load_classifier, ARCH, path)
    save_file({"anything": torch.ones(5, 1280)}, tmp_path / "head.safetensors")
    assert load_classifier(ARCH, path, head=tmp_path / "head.safetensors", num_classes=5).num_classes == 5


def test_a_head_of_its_own_replaces_the_checkpoints(state, saved, tmp_path):
    odd = {**state, "classifier.1.weight": torch.full((7, 3, 5), float("nan")), "classifier.1.more": torch.ones(1)}
    save_file({"weight": torch.full((2, 1280), 0.5), "bias": torch.ones(2)}, tmp_path / "head.safetensors")
    model = load_classifier(ARCH, saved(odd), head=tmp_path / "head.safetensors")
    assert model.class_weights.unique().tolist() == [0.5]
    plain = load_classifier(ARCH, saved(state))
    assert model.sha256 != plain.sha256


def test_a_head_of_other_channels_names_both(state, saved, tmp_path):
    np.save(tmp_path / "head.npy", np.ones((3, 512)))
    said = message(load_classifier, ARCH, saved(state), head=tmp_path / "head.npy")
    assert "for 512 channels, layer 'layers.16' has 1280" in said


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", ">f4"])
def test_a_head_of_any_real_type(dtype, tmp_path):
    np.save(tmp_path / "head.npy", np.asfortranarray([[1, 2, 3], [4, 5, 6]], dtype=dtype))
    assert read_head(tmp_path / "head.npy").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read_head(tmp_path / "head.npy").dtype == torch.float32


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones(3), "have shape [3], not [classes, channels]"),
        (np.ones((0, 3)), "have shape [0, 3]"),
        (np.ones((2, 3, 3, 3)), "have shape [2, 3, 3, 3]"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), 1e300), "infinite"),
        (np.ones((2, 2), complex), "not an array of real numbers"),
        (np.array([["a", "b"]]), "not an array of real numbers"),
        (np.array([[{}, {}]], object), "not an array of numbers"),
    ],
)
def test_what_is_no_head(array, said, tmp_path):
    np.save(tmp_path / "head.npy", array, allow_pickle=True)
    assert said in message(read_head, tmp_path / "head.npy")


def test_head_files_that_cannot_be_read(tmp_path):
    (tmp_path / "head.npy").write_bytes(b"nothing")
    (tmp_path / "head.pth").write_bytes(b"nothing")
    save_file({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "two.safetensors")
    assert "is not an array of numbers" in message(read_head, tmp_path / "head.npy")
    assert "give --head an .npy or .safetensors" in message(read_head, tmp_path / "head.pth")
    assert "holds 2 tensors and none is called 'weight'" in message(read_head, tmp_path / "two.safetensors")
    assert "does not exist" in message(read_head, tmp_path / "none.npy")
    assert "is a folder" in message(read_head, tmp_path)


def test_a_convolution_of_one_pixel_is_a_matrix():
    weight = torch.arange(6.0).reshape(2, 3, 1, 1)
    assert class_weights(weight, "x").tolist() == [[0, 1, 2], [3, 4, 5]]


# --- identity ----------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_tensors_not_of_the_file(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    backwards = {f"module.{key}": state[key] for key in reversed(state) if "num_batches" not in key}
    torch.save({"state_dict": backwards, "epoch": 4}, tmp_path / "b.pt")
    save_file(dict(state), tmp_path / "c.safetensors")
    prints = {load_classifier(ARCH, tmp_path / name).sha256 for name in ("a.pth", "b.pt", "c.safetensors")}
    assert len(prints) == 1
    assert len(prints.pop()) == 64


def test_the_fingerprint_by_hand():
    by_hand = hashlib.sha256(b"a <f4 [2]\n" + bytes(8) + b"b <f4 [1, 1]\n" + b"\x00\x00\x80\x3f").hexdigest()
    assert fingerprint({"b": torch.ones(1, 1), "a": torch.zeros(2)}) == by_hand


def test_the_fingerprint_sees_every_change():
    tensors = {"a": torch.arange(4.0), "b": torch.zeros(2)}
    others = [
        {**tensors, "a": torch.tensor([0.0, 1, 2, 3.0000002])},
        {**tensors, "a": torch.arange(4.0).reshape(2, 2)},
        {**tensors, "a": torch.arange(4.0).double()},
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"]},
    ]
    prints = {fingerprint(tensors), *(fingerprint(other) for other in others)}
    assert len(prints) == 6
    strided = torch.arange(8.0)[::2] / 2
    assert fingerprint({**tensors, "a": strided}) == fingerprint(tensors)


def test_class_weights_are_part_of_the_identity(state, saved):
    before = load_classifier(ARCH, saved(state)).sha256
    changed = {**state, "classifier.1.weight": state["classifier.1.weight"] + 1}
    assert load_classifier(ARCH, saved(changed)).sha256 != before
    biased = {**state, "classifier.1.bias": state["classifier.1.bias"] + 1}
    assert load_classifier(ARCH, saved(biased)).sha256 == before


# --- torchvision's own weights -----------------------------------------------------------------------------


def test_imagenet_weights_come_from_torchs_cache(state, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = models.get_model_weights("mnasnet0_5")["DEFAULT"].url
    cached = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    torch.save(state, cached)
    model = load_classifier(ARCH, "imagenet")
    assert model.sha256 == load_classifier(ARCH, cached).sha256


def test_imagenet_weights_without_a_network_say_what_to_fetch(monkeypatch, tmp_path):
    def offline(*_arguments, **_options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    said = message(load_classifier, ARCH, "imagenet")
    assert "no route to host" in said
    assert "fetch https://download.pytorch.org/models/mnasnet0.5" in said
    assert said.endswith("give the file to --weights")
