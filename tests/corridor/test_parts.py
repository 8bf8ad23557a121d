"""corridor: every refiner from photos to scores, and what is written beside the seeds."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from lpcam import corridor
from lpcam.engines import Placement
from lpcam.errors import LpcamError
from lpcam.refiners import REFINERS
from lpcam.refiners.parts import PartOptions
from lpcam.workspace import SEED_RECORD, Workspace
from tests.corridor.test_whole import PROFILE, SCALES

CRF = PartOptions(crf=True)


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    """A workspace with features and prototypes."""
    made = Workspace(tmp_path / "w")
    corridor.extract_features(made, data, classifier, scales=SCALES)
    corridor.cluster(made, profile=PROFILE)
    return made


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_every_refiner_is_written_and_scored(workspace):
    scores = {}
    for name in REFINERS:
        report = corridor.generate(workspace, refiner=name)
        assert (report.images, len(report.next_steps)) == (6, 1)
        scores[name] = corridor.evaluate(workspace, refiner=name).as_json()
        assert scores[name]["images"] == 6
    for name in ("lpcam", "recam", "advcam", "amn", "psa", "sipe"):  # which keep the maps as they are
        assert scores[name]["curve"] == scores["irn"]["curve"], "no background channel is counted as a class"
    assert abs(scores["clip-es"]["miou"] - scores["irn"]["miou"]) < 0.01
    assert scores["seam"]["curve"] == scores["mctformer"]["curve"]


def test_parts_lie_beside_the_seeds_and_a_torn_run_goes_on(workspace):
    pytest.importorskip("pydensecrf.densecrf")
    folder = workspace.seeds("lpcam", "psa")
    corridor.generate(workspace, refiner="psa", parts=CRF)
    before = files(folder)
    assert {path.split("/")[0] for path in before if "/" in path} == {"la_crf", "ha_crf"}
    (folder / "ha_crf/2007_000001.npy").unlink()
    (folder / "2007_000002.npy").unlink()
    again = corridor.generate(workspace, refiner="psa", parts=CRF)
    assert (again.images, again.skipped) == (2, 4)
    assert files(folder) == before


def test_processes_write_the_same_parts(workspace, tmp_path):
    pytest.importorskip("pydensecrf.densecrf")
    one = PartOptions(crf=True)
    corridor.generate(workspace, refiner="irn", parts=one, out=tmp_path / "one", placement=Placement(threads=1))
    placement = Placement(engine="local", processes=2, threads=1)
    corridor.generate(workspace, refiner="irn", parts=one, out=tmp_path / "two", placement=placement)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_runs_with_other_parts_are_not_mixed_and_overwriting_takes_the_old_parts_away(workspace):
    pytest.importorskip("pydensecrf.densecrf")
    folder = workspace.seeds("lpcam", "irn")
    corridor.generate(workspace, parts=CRF)
    record = json.loads((folder / SEED_RECORD).read_text())["made_by"]
    assert record["parts"]["ir_label"]["conf_fg"] == 0.45
    assert record["parts"]["ir_label"]["crf"]["bilateral_sxy"] == 50
    before = files(folder)
    with pytest.raises(LpcamError, match="with other parts"):
        corridor.generate(workspace)
    assert files(folder) == before
    corridor.generate(workspace, overwrite=True)
    assert not list((folder / "ir_label").glob("*.png"))
    assert "parts" not in json.loads((folder / SEED_RECORD).read_text())["made_by"]


def test_saliency_is_remembered_and_looked_for_before_any_photo(workspace, data, tmp_path):
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    parts = PartOptions(saliency=saliency)
    with pytest.raises(LpcamError, match="lacks the saliency maps of 6 of 6"):
        corridor.generate(workspace, refiner="edam", parts=parts)
    assert not workspace.seeds("lpcam", "edam").exists()
    for photo in data.open().photos:
        with Image.open(photo.path) as image:
            Image.fromarray(np.zeros((image.height, image.width), np.uint8)).save(saliency / f"{photo.name}.png")
    corridor.generate(workspace, refiner="edam", parts=parts)
    folder = workspace.seeds("lpcam", "edam")
    assert len(list((folder / "out_cam_pred").glob("*.png"))) == 6
    record = json.loads((folder / SEED_RECORD).read_text())["made_by"]
    assert record["parts"]["out_cam_pred"]["saliency"] == str(saliency.resolve())
    (tmp_path / "other").mkdir()
    for path in saliency.iterdir():
        path.rename(tmp_path / "other" / path.name)
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.generate(workspace, refiner="edam", parts=PartOptions(saliency=tmp_path / "other"))


def test_a_missing_package_is_named_before_anything_is_made(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(LpcamError, match=r"pip install 'lpcam\[crf\]'"):
        corridor.generate(workspace, refiner="psa", parts=CRF)
    assert not (workspace.root / "seeds").exists()
