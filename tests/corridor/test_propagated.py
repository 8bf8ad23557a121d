"""corridor: seeds that walked and settled, from photo to file, against the slow transcription; none are mixed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.backbones.classifier import Classifier
from lpcam.corridor import MethodSettings
from lpcam.errors import LpcamError
from lpcam.propagation import Propagation, Walk
from lpcam.records import Photo
from lpcam.workspace import Workspace
from tests.conftest import make_voc
from tests.reference import propagation as reference
from tests.reference.cam import bilinear
from tests.reference.one_at_a_time import read_views

SCALES = (0.5, 1.0)
POWER, RESTART, STEPS = 3.0, 0.1, 3
WALK = Walk(power=POWER, restart=RESTART, steps=STEPS)


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    """Features of three small photos, the last of both classes."""
    make_voc(tmp_path / "data", [(32, 40), (40, 32), (32, 36)])
    made = Workspace(tmp_path / "w")
    corridor.extract_features(made, data, classifier, scales=SCALES)
    return made


def walked_cam(net: Classifier, photo: Photo, classes: int) -> np.ndarray:
    """Return CAM maps on the grid of the last level but one after the dense walk: [K, h, w]."""
    views, _ = read_views(net, photo, SCALES)
    total: np.ndarray | float = 0.0
    with torch.no_grad():
        levels = [[level.double().numpy() for level in net.levels(view)] for view in views]
    guide = [level[0] + level[1][:, :, ::-1] for level in levels[SCALES.index(1.0)]]
    weights = net.class_weights.double().numpy()[list(photo.labels)]
    grid = (guide[-2].shape[1], guide[-2].shape[2])
    for of_scale in levels:
        logits = np.maximum(np.einsum("kc,vchw->vkhw", weights, of_scale[-1]), 0)
        cam = logits[0] + logits[1][:, :, ::-1]
        total = total + np.stack([bilinear(single, grid) for single in cam])
    start = total / total.max(axis=(1, 2), keepdims=True)
    affinity = reference.affinities([guide[-2], guide[-3]], POWER)
    walked = reference.walk(affinity, start, min(0.5, RESTART * classes**2), STEPS)
    return walked - walked.min(axis=(1, 2), keepdims=True)


def at_peak(maps: np.ndarray) -> np.ndarray:
    """Return maps divided by their maximum."""
    return maps / maps.max(axis=(1, 2), keepdims=True)


def seeds_of(workspace: Workspace, name: str) -> dict[str, np.ndarray]:
    """Return a seed file's content."""
    return np.load(workspace.seeds("cam", "irn") / f"{name}.npy", allow_pickle=True).item()


def padded(size: tuple[int, int]) -> tuple[int, int]:
    """Return the next multiples of 16."""
    return -(-size[0] // 16) * 16, -(-size[1] // 16) * 16


@pytest.mark.parametrize("edges", [None, "pamr"])
def test_the_seeds_are_the_transcriptions(workspace, data, classifier, edges):
    net = classifier.load(2, "cpu")
    settings = MethodSettings(propagation=Propagation(WALK, edges))
    corridor.generate(workspace, methods=["cam"], settings=settings)
    for photo in data.open().photos:
        views, size = read_views(net, photo, SCALES)
        walked = walked_cam(net, photo, len(photo.labels))
        high_res = np.stack([bilinear(single, padded(size))[: size[0], : size[1]] for single in walked])
        strided = np.stack([bilinear(single, ((size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1)) for single in walked])
        if edges:
            mean, std = (np.array(values)[:, None, None] for values in (net.mean, net.std))
            pixels = views[SCALES.index(1.0)][0].double().numpy() * std + mean
            coarse = reference.on_grid(at_peak(high_res), strided.shape[1:])
            strided = reference.pamr(reference.on_grid(pixels, strided.shape[1:]), coarse, 5)
            high_res = np.stack([bilinear(single, size) for single in strided])
        seeds = seeds_of(workspace, photo.name)
        np.testing.assert_allclose(seeds["high_res"], at_peak(high_res), rtol=0, atol=1e-4)
        np.testing.assert_allclose(seeds["cam"], at_peak(strided), rtol=0, atol=1e-4)


def test_seeds_of_other_settings_are_not_mixed(workspace, data):
    corridor.generate(workspace, methods=["cam"])
    name = data.open().photos[0].name
    plain = seeds_of(workspace, name)["high_res"]
    walks = MethodSettings(propagation=Propagation(Walk()))
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.generate(workspace, methods=["cam"], settings=walks)
    corridor.generate(workspace, methods=["cam"], settings=walks, overwrite=True)
    assert not np.array_equal(seeds_of(workspace, name)["high_res"], plain)
    claim = json.loads((workspace.seeds("cam", "irn") / ".lpcam-seeds.json").read_text())
    assert claim["made_by"]["propagation"]["walk"]["restart"] == Walk().restart
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.generate(workspace, methods=["cam"], settings=MethodSettings(propagation=Propagation(Walk(steps=3))))


def test_two_runs_give_the_same_bytes(workspace):
    settings = MethodSettings(propagation=Propagation(Walk(), "pamr"))
    files = []
    for _ in range(2):
        corridor.generate(workspace, methods=["cam"], settings=settings, overwrite=True)
        files.append([path.read_bytes() for path in sorted(workspace.seeds("cam", "irn").glob("*.npy"))])
    assert files[0] == files[1]
    assert len(files[0]) == 3


def test_refine_says_that_maps_which_walked_are_dense(workspace, tmp_path):
    confidence = "IR label, confidence of the foreground: "
    corridor.generate(workspace, methods=["cam"])
    plain = (workspace.seeds("cam", "irn") / "refine.sh").read_text()
    assert confidence + "0.30" in plain
    assert "walked" not in plain
    walks = MethodSettings(propagation=Propagation(Walk()))
    corridor.generate(workspace, methods=["cam"], settings=walks, overwrite=True)
    corridor.convert(workspace.seeds("cam", "irn"), tmp_path / "psa", from_refiner="irn", to_refiner="psa")
    walked = (workspace.seeds("cam", "irn") / "refine.sh").read_text()
    assert confidence + "0.45" in walked
    for text in (walked, (tmp_path / "psa/refine.sh").read_text()):
        assert "The maps walked and are denser still" in text
