"""corridor: a run on a GPU is a run on the CPU to rounding, and what a device does with photos changes no byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.forward import Forward
from lpcam.generate import generate
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import Execution
from lpcam.refiners import get_refiner
from lpcam.workspace import Workspace
from tests.tiny import tiny_classifier

SCALES = (1.0, 0.5, 1.5)
METHODS = ("cam", "lpcam", "iscam")
PROFILE = get_profile("voc", k=3, iterations=20)


def run(folder: Path, data, classifier, device: str = "cpu", batch_size: int = 1) -> Workspace:
    workspace, execution = Workspace(folder), Execution(device, batch_size=batch_size)
    corridor.run(workspace, data, classifier, methods=METHODS, scales=SCALES, profile=PROFILE, execution=execution)
    return workspace


def seeds(workspace: Workspace) -> dict[str, bytes]:
    found = {path.relative_to(workspace.root): path.read_bytes() for path in workspace.root.glob("seeds/**/*.npy")}
    assert len(found) == len(METHODS) * 6
    return found


def test_resizing_on_the_device_changes_no_byte(tmp_path, data, classifier, monkeypatch):
    by_host = run(tmp_path / "host", data, classifier)
    monkeypatch.setattr(Forward, "resizes", True)
    by_device = run(tmp_path / "device", data, classifier)
    assert seeds(by_device) == seeds(by_host)
    assert by_device.prototypes.read_bytes() == by_host.prototypes.read_bytes()


@pytest.mark.gpu
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_gpu_gives_what_the_cpu_gives(tmp_path, data, classifier, batch_size):
    on_cpu = run(tmp_path / "cpu", data, classifier)
    on_gpu = run(tmp_path / "gpu", data, classifier, "cuda", batch_size)
    for ours, theirs in zip(*(Prototypes.load(found.prototypes).centres for found in (on_gpu, on_cpu)), strict=True):
        assert ours.counts() == theirs.counts()
    irn = get_refiner("irn")
    for method in METHODS:
        for photo in data.open().photos:
            ours, theirs = (irn.read(found.seeds(method, "irn"), photo.name) for found in (on_gpu, on_cpu))
            np.testing.assert_allclose(ours.high_res, theirs.high_res, atol=1e-3)


@pytest.mark.gpu
def test_generate_never_waits_for_a_gpu(data):
    """torch tells of every call that makes the host wait; copies to pinned memory and events are not among them."""
    net = tiny_classifier([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).cuda()
    methods, names = {"cam": Cam(net.class_weights), "lpcam": Lpcam(net.class_weights)}, []
    sinks = dict.fromkeys(methods, lambda name, maps: names.append(name))
    torch.cuda.set_sync_debug_mode("error")
    try:
        generate(data.open().photos, Forward(net, SCALES), methods, sinks)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(names) == 12
