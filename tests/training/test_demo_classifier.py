"""Training the demo's classifier on image-level labels: seeded, without masks, into an ordinary checkpoint."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lpcam.backbones import load_classifier
from lpcam.backbones.classifier import Blueprint
from lpcam.backbones.demo import build
from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Photo
from lpcam.training.checkpoint import save_classifier
from lpcam.training.demo import DemoRecipe, augment, load_photos, one_cycle, train_demo_classifier
from lpcam.training.targets import label_matrix

QUICK = DemoRecipe(epochs=2, batch_size=4, longest=48, crop=40)


@pytest.fixture
def split(tmp_path):
    """Twelve grey photos: class 0 has a red square, class 1 a blue one, and every third shows nothing."""
    random = np.random.default_rng(0)
    photos = []
    for index in range(12):
        pixels = random.integers(90, 140, (40, 56, 3), dtype=np.uint8)
        labels = () if index % 3 == 2 else (index % 3,)
        if labels:
            pixels[10:30, 15:35] = [(230, 20, 20), (20, 20, 230)][labels[0]]
        path = tmp_path / f"p{index}.png"
        Image.fromarray(pixels).save(path)
        photos.append(Photo(f"p{index}", path, labels, mask=tmp_path / "there is none.png"))
    return DataSplit("folder", "train", ("red", "blue"), tuple(photos))


def digest(state):
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def test_same_seed_same_bytes_and_the_global_generator_is_left_alone(split):
    one, two, three = (build("demo") for _ in range(3))
    torch.manual_seed(99)
    first = digest(train_demo_classifier(one, split, recipe=QUICK, seed=1))
    after = torch.rand(1)
    torch.manual_seed(5)
    second = digest(train_demo_classifier(two, split, recipe=QUICK, seed=1))
    other = digest(train_demo_classifier(three, split, recipe=QUICK, seed=2))
    assert first == second != other
    torch.manual_seed(99)
    assert torch.equal(torch.rand(1), after)


def test_it_learns_what_the_labels_say(split, tmp_path):
    state = train_demo_classifier(build("demo"), split, recipe=replace(QUICK, epochs=40, colour=0.05), seed=0)
    save_classifier(tmp_path / "net.pth", state)
    model = load_classifier("demo", tmp_path / "net.pth", num_classes=2)
    images = (load_photos(split, 56).float() / 255 - torch.tensor(model.mean)[:, None, None]) / torch.tensor(model.std)[
        :, None, None
    ]
    logits = model.features(images).mean(dim=(2, 3)) @ model.class_weights.T
    assert ((logits > 0) == label_matrix(split).bool()).float().mean() > 0.9


def test_an_object_share_of_a_quarter_trains_the_same_network_with_class_weights_of_a_quarter(split):
    whole, quarter = (
        train_demo_classifier(
            build("demo"), split, recipe=replace(QUICK, object_share=share, head_gain=100 * share), seed=3
        )
        for share in (1.0, 0.25)
    )
    for name, tensor in whole.items():
        expected = tensor / 4 if name == "fc.weight" else tensor
        torch.testing.assert_close(quarter[name], expected, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_an_object_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="0 < object_share <= 1"):
        DemoRecipe(object_share=share)


def test_the_checkpoint_is_a_plain_state_dict(split, tmp_path):
    blueprint = build("demo")
    state = train_demo_classifier(blueprint, split, recipe=QUICK)
    save_classifier(tmp_path / "net.pth", state)
    loaded = torch.load(tmp_path / "net.pth", weights_only=True)
    assert set(loaded) == {*blueprint.network.state_dict(), "fc.weight"}
    assert loaded["fc.weight"].shape[0] == 2
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert not any(tensor.requires_grad for tensor in state.values())


def test_any_blueprint_may_be_trained(split):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())

    state = train_demo_classifier(Blueprint(Net(), ("body.0", "body.1"), "head.weight", stride=1), split, recipe=QUICK)
    assert state["head.weight"].shape == (2, 5)
    assert set(state) == {"body.0.weight", "body.0.bias", "head.weight"}


def test_masks_are_never_read(split, monkeypatch):
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda path, **how: opened.append(path) or original(path, **how))
    train_demo_classifier(build("demo"), split, recipe=QUICK)
    assert {str(path) for path in opened} == {str(photo.path) for photo in split.photos}


def test_labels_by_hand(split):
    assert label_matrix(split)[:3].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_photos_lie_in_the_middle_of_a_square_and_large_ones_are_shrunk(split):
    square = load_photos(split, 60)
    assert square.shape == (12, 3, 60, 60)
    assert square.dtype == torch.uint8
    assert square[0, :, 0, 0].tolist() == [124, 116, 104]
    pixels = np.array(Image.open(split.photos[0].path))
    np.testing.assert_array_equal(square[0, :, 10:50, 2:58].permute(1, 2, 0).numpy(), pixels)
    small = load_photos(split, 28)
    assert small.shape == (12, 3, 28, 28)
    assert small[0, 0, 14, 12] > 200


def test_augmentation_that_may_do_nothing_but_mirror_does_just_that(split, monkeypatch):
    still = DemoRecipe(crop=56, scale=(1, 1), shift=0, colour=0)
    photos = load_photos(split, 56)
    monkeypatch.setattr("lpcam.training.demo._STRETCH", 0.0)
    monkeypatch.setattr("lpcam.training.demo._TURN", 0.0)
    seen = augment(photos, still, torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    plain = (photos.float() / 255 - mean[:, None, None]) / std[:, None, None]
    kept = [(a - b).abs().max() < 1e-4 for a, b in zip(seen, plain, strict=True)]
    mirrored = [(a - b.flip(-1)).abs().max() < 1e-4 for a, b in zip(seen, plain, strict=True)]
    assert all(a or b for a, b in zip(kept, mirrored, strict=True))
    assert any(kept)
    assert any(mirrored)


def test_augmentation_draws_from_its_generator_only(split):
    photos = load_photos(split, 56)
    first, again = (augment(photos, DemoRecipe(crop=32), torch.Generator().manual_seed(4)) for _ in range(2))
    assert first.shape == (12, 3, 32, 32)
    assert torch.equal(first, again)


def test_the_learning_rate_rises_once_and_falls_to_nothing():
    shares = [one_cycle(step / 100) for step in range(101)]
    assert max(shares) == pytest.approx(1)
    assert shares.index(max(shares)) == 30
    assert shares[:31] == sorted(shares[:31])
    assert shares[30:] == sorted(shares[30:], reverse=True)
    assert shares[-1] == pytest.approx(0, abs=1e-12)


def test_progress_counts_epochs(split):
    calls = []
    train_demo_classifier(build("demo"), split, recipe=QUICK, progress=lambda *call: calls.append(call))
    assert calls == [("train", 0, 2), ("train", 1, 2), ("train", 2, 2)]


def test_fewer_photos_than_a_batch_are_refused(split):
    with pytest.raises(LpcamError, match="12 photos"):
        train_demo_classifier(build("demo"), split, recipe=replace(QUICK, batch_size=13))


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"scale": (1.2, 0.8)}, {"crop": 0}])
def test_recipes_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        DemoRecipe(**wrong)
