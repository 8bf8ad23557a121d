"""generate: maps by hand on a classifier of colours; sinks, notices, failures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import lpcam.forward
import lpcam.generate
from lpcam.forward import Forward, Loaded
from lpcam.generate import generate
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.fisher import Fisher
from lpcam.methods.iscam import IsCam
from lpcam.methods.lpcam import Lpcam, fold
from lpcam.methods.pacam import Pacam
from lpcam.propagation import Propagation, Walk
from lpcam.records import Execution, Photo
from tests.fake_gpu import fake_gpu
from tests.tiny import tiny_classifier


def half_red_half_green(path) -> Photo:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16, 0], pixels[:, 16:, 1] = 255, 102
    Image.fromarray(pixels).save(path)
    return Photo(path.stem, path, (0, 1))


def run(photos, methods, **options):
    net = tiny_classifier([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = {name: {} for name in methods}
    sinks = {name: kept.__setitem__ for name, kept in found.items()}
    report = generate(photos, Forward(net, (1.0,)), methods, sinks, **options)
    return report, found


def test_by_hand(tmp_path):
    methods = {
        "cam": Cam(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])),
        "lpcam": Lpcam(torch.stack([fold(torch.tensor([[9.0, 0, 0]]), torch.tensor([[0, 2.0, 0]])), torch.eye(3)[1]])),
    }
    report, found = run([half_red_half_green(tmp_path / "a.png")], methods)
    assert report.images == 1
    cam, lpcam = found["cam"]["a"].high_res, found["lpcam"]["a"].high_res
    assert cam.shape == lpcam.shape == (2, 16, 32)
    # In its own half every map is at its maximum, away from the border of the halves it is zero in the other.
    assert cam[0, :, :8].min() == pytest.approx(1, abs=1e-4)
    assert cam[1, :, 24:].min() == pytest.approx(1, abs=1e-4)
    assert lpcam[0, :, :8].min() == pytest.approx(1, abs=1e-4)
    assert float(lpcam[0, :, 24:].max()) == 0
    assert found["lpcam"]["a"].strided.shape == (2, 4, 8)


def test_all_methods_come_from_one_forward_pass(tmp_path):
    photos = [half_red_half_green(tmp_path / f"{index}.png") for index in range(3)]
    calls = []
    net = tiny_classifier([[1.0, 0.0, 0.0]] * 2)
    net.stages[0].register_forward_hook(lambda *_: calls.append(1))
    cam = Cam(net.class_weights)
    generate(photos, Forward(net, (1.0, 0.5)), {"a": cam, "b": cam}, {"a": lambda *_: None, "b": lambda *_: None})
    assert len(calls) == 3 * 2


@pytest.mark.parametrize("execution", [Execution(), Execution(batch_size=2, workers=2), Execution(workers=0)])
def test_every_photo_reaches_its_sink_once(tmp_path, execution):
    photos = [half_red_half_green(tmp_path / f"{index}.png") for index in range(5)]
    seen = []
    report, found = run(photos, {"cam": Cam(torch.eye(2, 3))}, execution=execution, progress=lambda *a: seen.append(a))
    assert sorted(found["cam"]) == [photo.name for photo in photos]
    assert report.images == 5
    assert seen[-1] == ("generate", 5, 5)


def test_maps_that_are_zero_everywhere_are_counted(tmp_path):
    photos = [half_red_half_green(tmp_path / f"{index}.png") for index in range(3)]
    report, found = run(photos, {"lpcam": Lpcam(torch.stack([torch.zeros(3), torch.eye(3)[1]]))})
    assert report.notices == ("3 maps of lpcam are zero everywhere",)
    assert bool(found["lpcam"]["0"].high_res.isfinite().all())


def test_several_writers_write_the_same(tmp_path):
    photos = [half_red_half_green(tmp_path / f"{index}.png") for index in range(5)]
    methods = {"lpcam": Lpcam(torch.stack([torch.zeros(3), torch.eye(3)[1]]))}
    (one, alone), (four, together) = (run(photos, methods, writers=count) for count in (1, 4))
    assert one.notices == four.notices == ("5 maps of lpcam are zero everywhere",)
    assert sorted(alone["lpcam"]) == sorted(together["lpcam"])
    assert all(torch.equal(alone["lpcam"][name].high_res, together["lpcam"][name].high_res) for name in alone["lpcam"])


def test_a_failed_write_is_raised(tmp_path):
    def full(name, maps):
        raise OSError("disk full")

    net = tiny_classifier([[1.0, 0.0, 0.0]] * 2)
    with pytest.raises(OSError, match="disk full"):
        generate(
            [half_red_half_green(tmp_path / "a.png")],
            Forward(net, (1.0,)),
            {"cam": Cam(net.class_weights)},
            {"cam": full},
        )


def test_a_photo_that_cannot_be_read_is_a_failure(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    report, found = run(
        [Photo("x", tmp_path / "x.png", (0,)), half_red_half_green(tmp_path / "a.png")], {"cam": Cam(torch.eye(2, 3))}
    )
    assert [failure.name for failure in report.failures] == ["x"]
    assert list(found["cam"]) == ["a"]


@pytest.mark.parametrize(("batch", "notice"), [(2, "once"), (4, "3 times")])
def test_batches_that_were_halved_are_told(tmp_path, monkeypatch, batch, notice):
    photos = [half_red_half_green(tmp_path / f"{index}.png") for index in range(batch)]
    made = lpcam.generate.activation_maps

    def exhausted(forward, loaded, *options):
        if len(loaded.photos) > 1:
            raise MemoryError
        return made(forward, loaded, *options)

    methods, execution = {"cam": Cam(torch.eye(2, 3))}, Execution(batch_size=batch)
    expected, alone = run(photos, methods)
    monkeypatch.setattr("lpcam.generate.activation_maps", exhausted)
    report, found = run(photos, methods, execution=execution)
    assert report.notices == (f"out of memory: batches were halved {notice}; a smaller --batch-size fits",)
    assert expected.notices == ()
    assert all(torch.equal(found["cam"][name].high_res, alone["cam"][name].high_res) for name in alone["cam"])


def methods_on(device: str) -> dict[str, Method]:
    """Every method, of a network of three channels and two classes."""
    with torch.device(device):
        weights, context = torch.rand(2, 3), (torch.rand(4, 3), torch.rand(0, 3))
        return {
            "cam": Cam(weights),
            "lpcam": Lpcam(weights),
            "fisher": Fisher(weights, torch.rand(2)),
            "pacam": Pacam(weights, context),
            "iscam": IsCam(Cam(weights)),
            "iscam from lpcam": IsCam(Lpcam(weights)),
        }


@pytest.mark.parametrize(
    ("names", "propagation"),
    [((), Propagation()), (("lpcam",), Propagation(Walk(), "pamr"))],
    ids=["every method", "propagated"],
)
def test_no_map_makes_the_host_wait_for_a_gpu(monkeypatch, names, propagation):
    """Forwards are queued one after the other; a call that waits for the device in between would leave it idle."""
    monkeypatch.setattr(lpcam.forward, "_CudaClock", lpcam.forward._Clock)
    monkeypatch.setattr(lpcam.generate, "to_host", lambda maps: maps)  # into pinned memory, which needs a driver
    photos = tuple(Photo(name, None, labels) for name, labels in (("a", (0, 1)), ("b", (1,)), ("c", ())))
    with fake_gpu() as waits:
        with torch.device("cuda"):
            net = tiny_classifier([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        forward = Forward(net, (1.0, 0.5, 1.5))
        loaded = Loaded(photos, (24, 32), (torch.zeros(3, 24, 32, 3, dtype=torch.uint8),))
        waits.clear()  # what was made once
        methods = methods_on("cuda")
        chosen = {name: methods[name] for name in names or methods}
        maps = lpcam.generate.activation_maps(forward, loaded, chosen, propagation=propagation)
        assert not waits
        assert maps["lpcam"][0].high_res.is_cuda


def test_the_fake_gpu_sees_what_waits():
    with fake_gpu() as waits:
        on_device, on_host = torch.zeros(4, device="cuda"), torch.zeros(4)
        on_device.add(1), on_host.to("cuda", non_blocking=True)
        assert not waits
        on_device.cpu(), on_host.to("cuda"), on_device[[0, 1]]
        assert len(waits) >= 3
        with pytest.raises(RuntimeError, match="scalar"):
            on_device.sum().item()
