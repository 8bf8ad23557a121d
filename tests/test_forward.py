"""forward: views and batches by hand, loading ahead keeps the order and isolates failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.backbones.classifier import Blueprint, Classifier
from lpcam.errors import LpcamError
from lpcam.forward import Forward, Loaded, load_ahead, plan_batches, resolve_device
from lpcam.records import ActivationMaps, Failure, Photo
from lpcam.refiners import get_refiner
from tests.tiny import tiny_classifier


def save(path, pixels) -> Photo:
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return Photo(path.stem, path, (0,))


def flat(height, width, colour):
    return np.broadcast_to(np.array(colour), (height, width, 3))


def test_features_by_hand(tmp_path):
    left_red = np.concatenate([flat(8, 4, (255, 0, 0)), flat(8, 8, (0, 0, 51))], axis=1)
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0,))
    loaded = forward.load([save(tmp_path / "a.png", left_red)])
    (features,) = forward.features(loaded)
    assert features.shape == (2, 1, 3, 2, 3)
    assert features[0, 0, 0].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert features[1, 0, 0].tolist() == [[0, 0, 1], [0, 0, 1]], "the mirror"
    assert features[0, 0, 2, 0].tolist() == pytest.approx([0, 0.2, 0.2])
    assert forward.seconds > 0


def test_every_scale_has_its_view(tmp_path):
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 0.5, 2.0))
    loaded = forward.load([save(tmp_path / "a.png", flat(16, 24, (9, 9, 9)))])
    assert [view.shape[2:] for view in loaded.images] == [(16, 24), (8, 12), (32, 48)]


def test_a_photo_one_pixel_wide_is_given_the_least_side(tmp_path):
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 0.5))
    loaded = forward.load([save(tmp_path / "a.png", flat(40, 1, (9, 9, 9)))])
    assert [tuple(view.shape[2:]) for view in loaded.images] == [(40, 4), (20, 4)]
    assert loaded.size == (40, 1)


@pytest.mark.parametrize("size", [(16, 24), (40, 5), (1, 9)])
def test_a_device_that_resizes_sees_the_same_bytes(tmp_path, size, monkeypatch):
    random = np.random.default_rng(0)
    photos = [save(tmp_path / f"{index}.png", random.integers(0, 255, (*size, 3))) for index in range(3)]
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 0.5, 1.5))
    by_host = forward.load(photos)
    monkeypatch.setattr(Forward, "resizes", True)
    by_device = forward.load(photos)
    assert by_host.is_resized
    assert by_device.is_resized == (size == (40, 5)), "where versions of Pillow differ the host resizes"
    for ours, theirs in zip(forward.views(by_device), forward.views(by_host), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(forward.pixels(by_device, 1), forward.pixels(by_host, 1))
    for ours, theirs in zip(by_device.halves(), by_host.halves(), strict=True):
        for ours_seen, theirs_seen in zip(forward.views(ours), forward.views(theirs), strict=True):
            assert torch.equal(ours_seen, theirs_seen)


def test_batches_hold_photos_of_one_size_and_lose_none(tmp_path):
    sizes = [(8, 8), (8, 12), (8, 8), (8, 8), (12, 8), (8, 12)]
    photos = [save(tmp_path / f"{index}.png", flat(*size, (1, 1, 1))) for index, size in enumerate(sizes)]
    (tmp_path / "x.png").write_bytes(b"no image")
    photos.append(Photo("x", tmp_path / "x.png", (0,)))
    batches = plan_batches(photos, 2)
    assert [[photo.name for photo in batch] for batch in batches] == [["0", "2"], ["3"], ["1", "5"], ["4"], ["x"]]
    assert plan_batches(photos, 1) == [(photo,) for photo in photos]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_loading_ahead_keeps_the_order(workers):
    photos = [Photo(str(index), None, ()) for index in range(7)]
    results = load_ahead(lambda batch: Loaded(tuple(batch), (1, 1), ()), [(photo,) for photo in photos], workers)
    assert [result.photos[0] for result in results] == photos


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_photo_takes_no_other_with_it(tmp_path, workers):
    random = np.random.default_rng(0)
    photos = [save(tmp_path / f"{index}.png", random.integers(0, 255, (8, 8, 3))) for index in range(3)]
    broken = tmp_path / "1.png"
    broken.write_bytes(broken.read_bytes()[:-100])
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0,))
    results = list(load_ahead(forward.load, [tuple(photos)], workers))
    assert [result.photos[0].name if isinstance(result, Loaded) else result.name for result in results] == list("012")
    assert isinstance(results[1], Failure)
    assert results[1].reason


def test_an_error_of_ours_is_not_swallowed():
    def load(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(load_ahead(load, [(Photo("a", None, ()),)], 2))


def test_a_batch_gives_the_features_of_its_photos(tmp_path):
    random = np.random.default_rng(0)
    photos = [save(tmp_path / f"{index}.png", random.integers(0, 255, (12, 16, 3))) for index in range(3)]
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 0.5))
    together = list(forward.features(forward.load(photos)))
    for index, photo in enumerate(photos):
        for both, alone in zip(together, forward.features(forward.load([photo])), strict=True):
            assert torch.allclose(both[:, index], alone[:, 0], atol=1e-6)


def test_auto_is_a_device_that_is_there():
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == "cpu"


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [resolve_device(name) for name in ("cuda", "cuda:3")] == ["cuda", "cuda:3"]
    with pytest.raises(LpcamError, match=r"no device 'cuda:4' here \(4 CUDA devices\)"):
        resolve_device("cuda:4")
    with pytest.raises(LpcamError, match="unknown device 'gpu': choose from auto, cpu, cuda"):
        resolve_device("gpu")


def convolution(channels=8):
    """A classifier whose features do depend on the number format."""
    generator = torch.Generator().manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, channels, 4, stride=4, bias=False), torch.nn.ReLU())
    network[0].weight.data = torch.rand(network[0].weight.shape, generator=generator)
    blueprint = Blueprint(network, stages=("0", "1"), head="fc.weight", stride=4, minimum_side=4)
    return Classifier("tiny", blueprint, "1", 4, torch.ones(1, channels), "0" * 64)


@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_another_precision_rounds_and_still_gives_float32(tmp_path, precision, most):
    photo = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (16, 24, 3)))
    exact = Forward(convolution(), (1.0,))
    rough = Forward(convolution(), (1.0,), precision=precision)
    (expected,), (found,) = (list(entry.features(entry.load([photo]))) for entry in (exact, rough))
    difference = (found - expected).abs().max() / expected.abs().max()
    assert found.dtype == torch.float32
    assert 0 < difference < most
    assert (exact.precision, rough.precision) == ("float32", precision)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
def test_a_thread_that_loads_or_writes_starts_no_torch_workers(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    photo, forward = Photo("a", tmp_path / "a.png", (0,)), Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 2.0))
    maps = ActivationMaps((0, 1), torch.rand(2, 94, 125), torch.rand(2, 375, 500))

    def grown() -> int:
        before = len(list(Path("/proc/self/task").iterdir()))
        assert isinstance(forward.load([photo]), Loaded)
        get_refiner("irn").write(tmp_path / "seeds", "a", maps)
        return len(list(Path("/proc/self/task").iterdir())) - before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(grown).result() == 0


def of_one_size(tmp_path, count, name="p", size=(8, 8)) -> list[Photo]:
    random = np.random.default_rng(0)
    return [save(tmp_path / f"{name}{index}.png", random.integers(0, 255, (*size, 3))) for index in range(count)]


def exhausted_beyond(most, tried):
    """Work that needs more memory than there is for batches of more photos."""

    def work(loaded):
        tried.append(len(loaded.photos))
        if len(loaded.photos) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [photo.name for photo in loaded.photos]

    return work


@pytest.mark.parametrize("readers", [0, 2])
def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_the_order_is_kept(tmp_path, readers):
    photos = of_one_size(tmp_path, 7)
    forward, tried = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 0.5)), []
    found = list(forward.each([tuple(photos)], readers, exhausted_beyond(2, tried)))
    assert [names for _, names in found] == [["p0"], ["p1", "p2"], ["p3", "p4"], ["p5", "p6"]]
    assert tried == [7, 3, 1, 2, 2, 2], "four photos did not need to be tried: three did not fit"
    assert forward.halved == 3
    for loaded, _ in found:
        for alone, together in zip(forward.load(loaded.photos).images, loaded.images, strict=True):
            assert torch.equal(alone, together)


def test_what_did_not_fit_once_is_not_tried_again(tmp_path):
    small, large = of_one_size(tmp_path, 4), of_one_size(tmp_path, 4, "q", (16, 16))
    forward, tried = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0,)), []
    list(forward.each([tuple(small)], 0, exhausted_beyond(2, tried)))
    list(forward.each([tuple(small), tuple(small[:3]), tuple(large[:2])], 0, exhausted_beyond(9, tried)))
    assert tried == [4, 2, 2, 2, 2, 3, 1, 1], "as many pixels as the four had are too many, fewer are not"
    assert forward.halved == 3


def test_a_photo_that_does_not_fit_alone_is_a_failure_and_the_others_go_on(tmp_path):
    photos, tried = [*of_one_size(tmp_path, 1, "huge", (16, 24)), *of_one_size(tmp_path, 2)], []
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 2.0))

    def work(loaded):
        tried.append(loaded.photos[0].name)
        if loaded.size == (16, 24):
            raise MemoryError
        return len(loaded.photos)

    failure, (_, count) = forward.each([(photos[0],), tuple(photos[1:])], 1, work)
    assert tried == ["huge0", "huge0", "p0"], "tried once more after memory was given back"
    assert failure == Failure(
        "huge0",
        "out of memory: a photo of 16×24 px at the scales 1,2 does not fit into what is free of cpu: free some, "
        "leave out the largest of --scales, or scale the photo down",
    )
    assert (count, forward.halved) == (2, 0)


def test_photos_that_do_not_fit_while_they_are_read_are_read_one_by_one(tmp_path, monkeypatch):
    photos = of_one_size(tmp_path, 3)
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0,))

    def read(path):
        if path.stem == "p1":
            raise MemoryError
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("lpcam.forward.read_photo", read)
    found = list(forward.each([tuple(photos)], 1, lambda loaded: [photo.name for photo in loaded.photos]))
    assert [of if isinstance(of, Failure) else of[1] for of in found] == [["p0"], found[1], ["p2"]]
    assert isinstance(found[1], Failure)
    assert found[1].reason.startswith("out of memory: a photo of 8×8 px at the scales 1 does not fit")


def test_a_photo_that_found_no_room_beside_the_batch_before_is_read_when_that_is_done(tmp_path, monkeypatch):
    photos, readings = of_one_size(tmp_path, 2), []
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0,))

    def read(path):
        readings.append(path.stem)
        if readings.count("p1") == 1 and path.stem == "p1":
            raise MemoryError
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("lpcam.forward.read_photo", read)
    found = [names for _, names in forward.each([(photo,) for photo in photos], 1, lambda loaded: loaded.photos)]
    assert found == [(photos[0],), (photos[1],)]
    assert readings == ["p0", "p1", "p1"]


def test_a_mistake_of_ours_in_the_work_is_not_taken_for_a_want_of_memory(tmp_path):
    def work(loaded):
        raise RuntimeError("expected 3 channels")

    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0,))
    with pytest.raises(RuntimeError, match="expected 3 channels"):
        list(forward.each([tuple(of_one_size(tmp_path, 2))], 0, work))


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the address space")
@pytest.mark.parametrize("stage", ["generate", "extract"])
def test_a_process_of_bounded_memory_halves_batches_reports_the_photo_that_is_too_large_and_goes_on(tmp_path, stage):
    of_one_size(tmp_path, 8, size=(256, 256))
    of_one_size(tmp_path, 1, "huge", (2048, 2048))
    arguments = [sys.executable, "-c", _BOUNDED, str(tmp_path), stage]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # of what is bounded, no thread sets anything aside
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(answer.stdout)
    assert found["names"] == [f"p{index}" for index in range(8)]
    assert found["equal"]
    assert found["halved"] >= 1
    ((name, reason),) = found["failures"]
    assert name == "huge0"
    assert "2048×2048" in reason


_BOUNDED = """
import json, resource, sys
from pathlib import Path
import torch
from lpcam.extract import extract_photos
from lpcam.forward import Forward
from lpcam.generate import generate
from lpcam.methods.cam import Cam
from lpcam.records import Execution, Photo
from tests.test_forward import convolution

torch.set_num_threads(1)
folder, stage = Path(sys.argv[1]), sys.argv[2]
paths = [*sorted(folder.glob("p*")), folder / "huge0.png"]
photos = [Photo(path.stem, path, (0,)) for path in paths]
forward = Forward(convolution(1024), (1.0,))  # 16 MB of features a photo of 256x256, and as much for its mirror
net = forward.classifier

def run(photos, batch):
    execution = Execution(device="cpu", batch_size=batch, workers=1)
    if stage == "generate":
        found = {}
        cam, sink = Cam(net.class_weights), found.__setitem__
        report = generate(photos, forward, {"cam": cam}, {"cam": sink}, execution=execution)
        return {name: maps.high_res for name, maps in found.items()}, report.failures
    entries, failures = extract_photos(photos, forward, "float32", execution, lambda done: None)
    return {entry.name: entry.features for entry in entries}, failures

expected, _ = run(photos[:8], 1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + ((190 if stage == "generate" else 380) << 20), -1))
found, failures = run(photos, 8)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(json.dumps({
    "names": list(found),
    "equal": all(torch.allclose(found[name], expected[name], atol=1e-4) for name in found),
    "halved": forward.halved,
    "failures": [[failure.name, failure.reason] for failure in failures],
}))
"""
