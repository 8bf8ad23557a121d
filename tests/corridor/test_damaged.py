"""Files of a run that change behind its back are never used: they are made again, or refused."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from lpcam import corridor
from lpcam.checksums import SUMS
from lpcam.errors import LpcamError
from lpcam.profiles import get_profile
from lpcam.refiners.parts import PartOptions
from lpcam.sources import ClassifierSource, DataSource
from lpcam.workspace import Workspace
from tests.conftest import make_voc


@pytest.fixture(scope="module")
def made(tmp_path_factory, checkpoint) -> Workspace:
    """A run of four photos down to its scores."""
    folder = tmp_path_factory.mktemp("damaged")
    root = make_voc(folder / "data", [(48, 64), (64, 48), (48, 64), (33, 57)])
    workspace = Workspace(folder / "w")
    data = DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")
    corridor.extract_features(workspace, data, ClassifierSource("demo", checkpoint), scales=(1.0,))
    corridor.cluster(workspace, profile=get_profile("voc", k=3))
    corridor.generate(workspace, methods=("cam", "lpcam"))
    corridor.evaluate(workspace, method="cam")
    return workspace


@pytest.fixture
def workspace(made, tmp_path) -> Workspace:
    return Workspace(shutil.copytree(made.root, tmp_path / "w"))


def flip(path, offset=-60) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def seeds(workspace, method="lpcam") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.seeds(method, "irn").iterdir() if path.is_file()}


def test_a_damaged_seed_is_made_again_and_said(workspace):
    before = seeds(workspace)
    assert len(before[SUMS].splitlines()) == 5, "four seeds and refine.sh"
    flip(workspace.seeds("lpcam", "irn") / "2007_000002.npy")
    report = corridor.generate(workspace, methods=("cam", "lpcam"))
    assert seeds(workspace) == before
    assert (report.images, report.skipped) == (1, 3)
    (notice,) = [notice for notice in report.notices if "damaged" in notice]
    assert "1 files of " in notice
    assert notice.endswith("were damaged, and are made again; the first was 2007_000002.npy")
    again = corridor.generate(workspace, methods=("cam", "lpcam"))
    assert (again.images, again.notices) == (0, ())


def test_a_seed_nobody_noted_is_made_again(workspace):
    before = seeds(workspace)
    folder = workspace.seeds("lpcam", "irn")
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(lines[1:]))
    assert corridor.generate(workspace).images == 1
    assert seeds(workspace) == before


def test_parts_have_checksums_too(workspace, tmp_path):
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    for name, size in zip(("0", "1", "2", "3"), ((64, 48), (48, 64), (64, 48), (57, 33)), strict=True):
        Image.new("L", size, 200).save(saliency / f"2007_00000{name}.png")
    options = {"refiner": "edam", "parts": PartOptions(saliency=saliency)}
    corridor.generate(workspace, **options)
    folder = workspace.seeds("lpcam", "edam")
    (part,) = [path for path in folder.iterdir() if path.is_dir()]
    names = [line.split("  ")[1] for line in (folder / SUMS).read_text().splitlines()]
    assert len(names) == 9
    assert sum(name.startswith(f"{part.name}/") for name in names) == 4
    victim = sorted(part.iterdir())[0]
    before = victim.read_bytes()
    flip(victim, -20)
    assert corridor.generate(workspace, **options).images == 1
    assert victim.read_bytes() == before


def test_a_damaged_seed_is_not_scored(workspace):
    flip(workspace.seeds("cam", "irn") / "2007_000003.npy")
    with pytest.raises(LpcamError, match=r"2007_000003.npy is damaged.*run 'lpcam generate' again"):
        corridor.evaluate(workspace, method="cam")


def test_a_damaged_seed_is_not_converted(workspace, tmp_path):
    flip(workspace.seeds("cam", "irn") / "2007_000003.npy")
    report = corridor.convert(workspace.seeds("cam", "irn"), tmp_path / "psa", from_refiner="irn", to_refiner="sipe")
    (failure,) = report.failures
    assert (failure.name, report.images) == ("2007_000003", 3)
    assert "checksum does not hold" in failure.reason


def test_damaged_prototypes_make_no_seeds(workspace):
    flip(workspace.prototypes, -5)
    with pytest.raises(LpcamError, match=r"checksum does not hold.*lpcam cluster --overwrite"):
        corridor.generate(workspace, methods=("lpcam",))


def test_damaged_features_make_no_prototypes_and_are_extracted_again(workspace):
    (shard,) = workspace.features.glob("shard-*")
    before = shard.read_bytes()
    flip(shard)
    with pytest.raises(LpcamError, match=r"shard-00000.*checksum does not hold.*lpcam extract-features"):
        corridor.cluster(workspace, profile=get_profile("voc", k=4), overwrite=True)
    assert workspace.prototypes.is_file(), "what was there is kept until there is something better"
    sources = json.loads((workspace.features / "manifest.json").read_text())["sources"]
    data, classifier = DataSource.from_json(sources["data"]), ClassifierSource.from_json(sources["classifier"])
    report = corridor.extract_features(workspace, data, classifier, scales=(1.0,))
    assert report.images == 4
    assert shard.read_bytes() == before


def test_scores_that_were_changed_are_refused(workspace):
    from lpcam.inspection import inspect

    path = workspace.evaluation("cam")
    path.write_text(path.read_text().replace('"miou": 0.', '"miou": 0.9', 1))
    assert any("evaluation/cam.json" in doubt and "checksum" in doubt for doubt in inspect(workspace.root).doubts)
