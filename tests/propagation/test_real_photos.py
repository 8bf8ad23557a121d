"""propagation on real photos, where they are: the walk and PAMR each make CAM's seeds better."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpcam import corridor
from lpcam.corridor import MethodSettings
from lpcam.propagation import Propagation, Walk
from lpcam.sources import ClassifierSource, DataSource
from lpcam.workspace import Workspace

PHOTOS = 8


@pytest.mark.real
def test_every_step_raises_the_miou(tmp_path: Path, real_data: Path):
    data = real_data / "data" / "voc_animals"
    listed = (data / "ImageSets/Segmentation/train.txt").read_text().split()
    names = tmp_path / "some.txt"
    names.write_text("".join(f"{name}\n" for name in listed[:: len(listed) // PHOTOS][:PHOTOS]))
    source = DataSource("voc", data, str(names), labels=data / "labels.csv")
    weights = real_data / "data/weights/mobilenet_v2_voc20.pth"
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(
        workspace, source, ClassifierSource("torchvision/mobilenet_v2", weights, stride=16), scales=(1.0,)
    )
    found = []
    for propagation in (Propagation(), Propagation(Walk()), Propagation(Walk(), "pamr")):
        settings = MethodSettings(propagation=propagation)
        corridor.generate(workspace, methods=["cam"], settings=settings, overwrite=True)
        found.append(corridor.evaluate(workspace, method="cam").curve.best.miou)
    plain, walked, settled = found
    assert walked > plain + 0.03
    assert settled > walked
