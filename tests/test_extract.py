"""extract: what is stored of a photo, by hand; memory and dtype."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import lpcam.extract
import lpcam.forward
from lpcam.errors import LpcamError
from lpcam.extract import extract, photo_features, stored
from lpcam.forward import Forward, Loaded
from lpcam.records import DataSplit, Photo
from lpcam.store import FeatureStore, PhotoFeatures, write_shard
from tests.fake_gpu import fake_gpu
from tests.reference import cam as reference
from tests.tiny import tiny_classifier

WEIGHTS = [[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]]


def photo(path, seed=0, size=(20, 28), labels=(0, 1)) -> Photo:
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    return Photo(path.stem, path, labels)


def test_stored_features_are_those_of_scale_one_without_mirror(tmp_path):
    forward = Forward(tiny_classifier(WEIGHTS), (0.5, 1.0))
    given = photo(tmp_path / "a.png")
    (entry,) = photo_features(forward, forward.load([given]))
    pixels = np.asarray(Image.open(given.path)).astype(np.float32) / 255
    expected = pixels.reshape(5, 4, 7, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(entry.features.numpy() - expected).max() < 1e-6


def test_stored_cam_is_the_high_res_cam_nearest_sampled_at_the_grid(tmp_path):
    forward = Forward(tiny_classifier(WEIGHTS), (1.0, 0.5))
    loaded = forward.load([photo(tmp_path / "a.png")])
    (entry,) = photo_features(forward, loaded)
    views = [features[:, 0].double().numpy() for features in forward.features(loaded)]
    for row in range(2):
        maps = [reference.view_map(view[0], view[1], np.array(WEIGHTS[row])) for view in views]
        high_res = reference.high_res(maps, (20, 28))
        expected = F.interpolate(torch.tensor(high_res)[None, None], (5, 7), mode="nearest")[0, 0]
        assert torch.allclose(entry.cam[row].double(), expected, atol=1e-5)
        sampled = high_res[np.arange(5) * 20 // 5][:, np.arange(7) * 28 // 7]
        assert np.abs(entry.cam[row].numpy() - sampled).max() < 1e-5


def test_a_photo_without_labels_is_stored_without_cam(tmp_path):
    forward = Forward(tiny_classifier(WEIGHTS), (1.0,))
    (entry,) = photo_features(forward, forward.load([photo(tmp_path / "a.png", labels=())]))
    assert entry.cam.shape == (0, 5, 7)


def test_scale_one_must_be_there(tmp_path):
    split = DataSplit("voc", "train", ("a", "b"), (photo(tmp_path / "a.png"),))
    with pytest.raises(LpcamError, match="lack 1"):
        extract(split, Forward(tiny_classifier(WEIGHTS), (0.5,)), tmp_path / "f")


def test_features_that_overflow_half_precision_are_refused_not_stored_as_infinity(tmp_path):
    net = tiny_classifier(WEIGHTS)
    net.std = (1e-6, 1.0, 1.0)
    split = DataSplit("voc", "train", ("a", "b"), (photo(tmp_path / "a.png"),))
    with pytest.raises(LpcamError, match="not finite in float16: try --dtype float32"):
        extract(split, Forward(net, (1.0,)), tmp_path / "f")
    extract(split, Forward(net, (1.0,)), tmp_path / "f", dtype="float32")
    assert len(FeatureStore(tmp_path / "f").photos) == 1


def test_progress_counts_every_photo_once(tmp_path):
    photos = tuple(photo(tmp_path / f"{index}.png", index) for index in range(5))
    seen = []
    extract(
        DataSplit("voc", "train", ("a", "b"), photos),
        Forward(tiny_classifier(WEIGHTS), (1.0,)),
        tmp_path / "f",
        shard_size=2,
        progress=lambda *told: seen.append(told),
    )
    counts = [done for stage, done, total in seen]
    assert counts == sorted(counts)
    assert set(counts) == set(range(6))
    assert all(told[0] == "extract-features" and told[2] == 5 for told in seen)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_kept_of_a_photo_holds_no_other_photo_in_memory(dtype):
    batch = torch.rand(2, 3, 4, 5, 6)  # images and mirrors of three photos
    entry = PhotoFeatures("a", (0,), (20, 24), batch[0, 1], torch.rand(1, 5, 6))
    kept = stored(entry, dtype).features
    assert kept.untyped_storage().nbytes() == kept.nbytes
    assert torch.equal(kept.float(), batch[0, 1].to(kept.dtype).float())


@pytest.mark.parametrize("which", ["shard-00001.safetensors", "class_weights.safetensors"])
def test_what_was_damaged_is_made_again_to_the_same_bytes_and_said(tmp_path, which):
    photos = tuple(photo(tmp_path / f"{index}.png", index) for index in range(3))
    split, forward = DataSplit("voc", "train", ("a", "b"), photos), Forward(tiny_classifier(WEIGHTS), (1.0,))
    extract(split, forward, tmp_path / "f", shard_size=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "f").iterdir()}
    path = tmp_path / "f" / which
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    report = extract(split, forward, tmp_path / "f", shard_size=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "f").iterdir()} == before
    assert (report.images, report.skipped) == ((1, 2) if which.startswith("shard") else (0, 3))
    assert any("was damaged, and is made again" in notice and which in notice for notice in report.notices)
    again = extract(split, forward, tmp_path / "f", shard_size=1)
    assert (again.images, again.notices) == (0, ())


def test_no_feature_makes_the_host_wait_for_a_gpu(monkeypatch):
    monkeypatch.setattr(lpcam.forward, "_CudaClock", lpcam.forward._Clock)
    monkeypatch.setattr(lpcam.extract, "to_host", lambda tensor: tensor)  # into pinned memory, which needs a driver
    photos = tuple(Photo(name, Path(name), labels) for name, labels in (("a", (0, 1)), ("b", (1,)), ("c", ())))
    with fake_gpu() as waits:
        with torch.device("cuda"):
            net = tiny_classifier(WEIGHTS)
        forward = Forward(net, (1.0, 0.5))
        loaded = Loaded(photos, (24, 32), (torch.zeros(3, 24, 32, 3, dtype=torch.uint8),))
        waits.clear()  # what was made once
        for entry in photo_features(forward, loaded):
            assert lpcam.extract._sent(entry, "float16").entry.features.is_cuda
        assert not waits


def test_a_shard_is_written_while_the_next_is_made(tmp_path, monkeypatch):
    photos = tuple(photo(tmp_path / f"{index}.png", index) for index in range(6))
    split, forward = DataSplit("voc", "train", ("a", "b"), photos), Forward(tiny_classifier(WEIGHTS), (1.0,))
    second_is_made, written = Event(), []

    def write(folder, index, entries, *rest):
        assert index > 0 or second_is_made.wait(10), "the first shard is written when the second has been made"
        written.append(index)
        write_shard(folder, index, entries, *rest)

    def tick(stage, done, total):
        if done == 4:
            second_is_made.set()

    monkeypatch.setattr(lpcam.extract, "write_shard", write)
    report = extract(split, forward, tmp_path / "f", shard_size=2, progress=tick)
    assert (report.images, written) == (6, [0, 1, 2])


def test_what_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    photos = tuple(photo(tmp_path / f"{index}.png", index) for index in range(3))
    split, forward = DataSplit("voc", "train", ("a", "b"), photos), Forward(tiny_classifier(WEIGHTS), (1.0,))

    def refuse(folder, index, *_):
        raise LpcamError(f"cannot write shard {index}")

    monkeypatch.setattr(lpcam.extract, "write_shard", refuse)
    with pytest.raises(LpcamError, match="shard 0"):
        extract(split, forward, tmp_path / "f", shard_size=1)
    assert not (tmp_path / "f" / "manifest.json").exists()


def test_shards_that_are_there_count_as_done_at_once(tmp_path):
    photos = tuple(photo(tmp_path / f"{index}.png", index) for index in range(6))
    split, forward = DataSplit("voc", "train", ("a", "b"), photos), Forward(tiny_classifier(WEIGHTS), (1.0,))
    extract(split, forward, tmp_path / "f", shard_size=2)
    (tmp_path / "f" / "manifest.json").unlink()
    (tmp_path / "f" / "shard-00002.safetensors").unlink()
    told = []
    report = extract(
        split, forward, tmp_path / "f", shard_size=2, progress=lambda stage, done, total: told.append(done)
    )
    assert (report.images, report.skipped) == (2, 4)
    assert told == [0, 4, 5, 6]
