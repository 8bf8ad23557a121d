"""forward: views and batches by hand, loading ahead keeps the order and isolates failures."""

from __future__ import annotations

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
from lpcam.forward import Forward, Loaded, _of_glibc, load_ahead, plan_batches, resolve_device, reused_memory
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
    assert [view.shape[2:] for view in loaded.views] == [(16, 24), (8, 12), (32, 48)]


def test_a_photo_one_pixel_wide_is_given_the_least_side(tmp_path):
    forward = Forward(tiny_classifier([[1.0, 0, 0]]), (1.0, 0.5))
    loaded = forward.load([save(tmp_path / "a.png", flat(40, 1, (9, 9, 9)))])
    assert [tuple(view.shape[2:]) for view in loaded.views] == [(40, 4), (20, 4)]
    assert loaded.size == (40, 1)


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


def test_while_forwards_run_nothing_is_mapped_and_afterwards_it_is_again(monkeypatch):
    calls = []
    monkeypatch.setattr("lpcam.forward._of_glibc", lambda name: lambda *of: calls.append((name, *of)))
    with reused_memory(torch.device("cpu")):
        assert calls == [("mallopt", -1, 2**31 - 1), ("mallopt", -4, 0)]
        calls.clear()
    assert calls == [("mallopt", -4, 65536), ("mallopt", -3, 32 << 20), ("mallopt", -1, 64 << 20), ("malloc_trim", 0)]


@pytest.mark.skipif(_of_glibc("mallopt") is None, reason="needs glibc")
def test_a_large_tensor_takes_the_pages_of_the_one_before():
    """In a process of its own: what other tests left on the heap may stand in the way of 64 MB."""
    counted = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True).stdout
    assert int(counted) < 5 * 16384  # of the ten times it takes otherwise


_FAULTS = """
import resource, torch
from lpcam.forward import reused_memory
with reused_memory(torch.device("cpu")):
    torch.ones(16 << 20)  # 64 MB, 16384 pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_of_another_device_is_left_alone(monkeypatch):
    monkeypatch.setattr("lpcam.forward._of_glibc", lambda name: pytest.fail("asked for"))
    with reused_memory(torch.device("cuda")):
        pass


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
