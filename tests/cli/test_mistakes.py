"""What people get wrong: each is one line that names what was found, what was expected, and what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main

from lpcam import corridor
from lpcam.files import write_json
from lpcam.profiles import get_profile
from lpcam.sources import ClassifierSource, DataSource
from lpcam.workspace import Workspace
from tests.conftest import make_voc

EXTRACT = "extract-features {data} --arch demo --weights {ckpt} -w {new}"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory, checkpoint) -> Path:
    """A folder with photos, a checkpoint and a run w of three stages, as a person has them."""
    place = tmp_path_factory.mktemp("made")
    root = make_voc(place / "data", [(48, 64), (64, 48), (48, 64), (33, 57), (48, 64), (50, 50)])
    shutil.copy(checkpoint, place / "net.pth")
    workspace = Workspace(place / "w")
    data = DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")
    corridor.extract_features(workspace, data, ClassifierSource("demo", place / "net.pth"), scales=(1.0,))
    corridor.cluster(workspace, profile=get_profile("voc", k=3))
    corridor.generate(workspace, methods=("cam",))
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, which is the current one."""
    place = shutil.copytree(made, tmp_path / "place")
    manifest = place / "w/features/manifest.json"
    moved = json.loads(manifest.read_text().replace(str(made), str(place)))
    del moved["sha256"]
    write_json(manifest, moved, sealed=True)
    monkeypatch.chdir(place)
    return place


def run(line: str) -> tuple[int, str, str]:
    """Run a line and return the exit code, stdout and stderr."""
    words = {
        "data": "--dataset voc --root data --labels data/labels.csv --classes data/classes.txt",
        "ckpt": "net.pth",
        "new": "new",
    }
    result = CliRunner().invoke(main, line.format(**words).split())
    assert result.exception is None or isinstance(result.exception, SystemExit), "a traceback is not for users"
    return result.exit_code, result.stdout, result.stderr


def old_manifest(place: Path) -> None:
    path = place / "w/features/manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    path.write_text(json.dumps({**manifest, "schema": 1}))


def other_weights(place: Path) -> None:
    state = torch.load(place / "net.pth", weights_only=True)
    torch.save({**state, "fc.weight": state["fc.weight"] + 1}, place / "net.pth")


def nothing(place: Path) -> None:
    """Leave everything as it is."""


def write(name: str, text: str) -> Damage:
    return lambda place: (place / name).write_text(text)


def move(name: str) -> Damage:
    return lambda place: (place / name).rename(place / f"{name}.away")


MISTAKES: dict[str, tuple[Damage, str, str, str]] = {  # what: (damage, line, what was found and expected, what to do)
    "wrong folder of the data": (
        nothing,
        "extract-features --dataset voc --root dat --arch demo --weights net.pth",
        "folder dat does not exist",
        "--root",
    ),
    "folder above the data": (
        nothing,
        "extract-features --dataset voc --root . --arch demo --weights net.pth",
        "no folder JPEGImages",
        "did you mean data",
    ),
    "empty folder of photos": (
        lambda place: (place / "no").mkdir(),
        "extract-features --dataset folder --root no --arch demo --weights net.pth",
        "no holds no photos",
        "--root",
    ),
    "folder without a list": (
        nothing,
        "extract-features --dataset folder --root data/JPEGImages --arch demo --weights net.pth",
        "no list train.txt in data/JPEGImages",
        "--split all",
    ),
    "another architecture": (
        nothing,
        "extract-features {data} --arch resnet50 --weights {ckpt} -w {new}",
        r"does not fit resnet50: 265 keys missing .* 20 keys unexpected",
        "lpcam inspect net.pth",
    ),
    "typo in the architecture": (
        nothing,
        "extract-features {data} --arch resnet5 --weights {ckpt} -w {new}",
        r"unknown architecture 'resnet5'.*\(\d+ in all\)",
        "did you mean 'resnet50'",
    ),
    "a whole model": (
        lambda place: torch.save(torch.nn.Linear(2, 2), place / "whole.pth"),
        "extract-features {data} --arch demo --weights whole.pth -w {new}",
        "holds more than tensors and was not unpickled",
        r"torch\.save\(model\.state_dict\(\)",
    ),
    "a folder for a checkpoint": (
        nothing,
        "extract-features {data} --arch demo --weights data -w {new}",
        "data is a folder, not a file",
        "--weights a checkpoint file",
    ),
    "weights that do not exist anywhere": (
        nothing,
        "extract-features {data} --arch demo --weights imagenet -w {new}",
        "no ImageNet weights",
        "--weights a checkpoint",
    ),
    "20 classes for a head of 2": (
        nothing,
        "extract-features --dataset voc --root data --arch demo --weights net.pth",
        "for 2 classes, the data set has 20",
        "--classes FILE",
    ),
    "a class too many": (
        write("three.txt", "sheep\ntrain\ncow\n"),
        "extract-features {data} --classes three.txt --arch demo --weights {ckpt} -w {new}",
        "for 2 classes, the data set has 3",
        "--classes FILE",
    ),
    "labels of other photos": (
        write("data/labels.csv", "name,classes\nzebra,sheep\n"),
        EXTRACT,
        "no labels for 6 of 6 photos",
        "--labels FILE",
    ),
    "names in place of labels": (
        nothing,
        EXTRACT.replace("{data}", "{data} --labels data/classes.txt"),
        "classes.txt is no file of labels",
        r"\.csv",
    ),
    "classes that are a folder": (
        nothing,
        EXTRACT.replace("{data}", "{data} --classes data"),
        r"cannot read data \(Is a directory\)",
        "UTF-8 text file",
    ),
    "a head of other channels": (
        lambda place: np.save(place / "head.npy", np.ones((2, 7), np.float32)),
        EXTRACT + " --head head.npy",
        "for 7 channels, layer 'features.3' has 512",
        "--head",
    ),
    "a file for a workspace": (nothing, "cluster -w net.pth", "net.pth is a file", "--workspace"),
    "no run yet": (nothing, "cluster -w nowhere", "no features in nowhere/features", "lpcam extract-features"),
    "an interrupted run": (
        lambda place: (place / "w/features/manifest.json").unlink(),
        "cluster -w w",
        "1 shards and no manifest",
        "lpcam extract-features",
    ),
    "seeds into the features": (
        lambda place: None,
        "generate -w w --out w/features",
        "is a feature store",
        "choose another folder",
    ),
    "a run of an old version": (
        old_manifest,
        "cluster -w w",
        "schema 1, this version reads 3",
        "lpcam extract-features --overwrite",
    ),
    "a damaged prototype file": (
        write("w/prototypes.safetensors", "junk"),
        "generate -w w",
        "not a whole lpcam prototype file",
        "lpcam cluster --overwrite",
    ),
    "other hyper-parameters": (
        nothing,
        "cluster -w w --k 5 --tau .2",
        r"made with k 3, not 5, tau 0\.1, not 0\.2",
        "--overwrite",
    ),
    "no seeds of that method": (
        nothing,
        "evaluate -w w --method lpcam",
        r"\(there are seeds/cam/irn\)",
        "lpcam generate -w w --method lpcam --refiner irn",
    ),
    "typo in the method": (nothing, "evaluate -w w --method lpcm", "unknown method 'lpcm'", "did you mean 'lpcam'"),
    "seeds of another family": (
        nothing,
        "evaluate -w w --method cam --refiner clip-es --seeds w/seeds/cam/irn",
        "does not hold CLIP-ES seeds",
        r"lpcam inspect w/seeds/cam/irn/2007_000000\.npy",
    ),
    "typo in a class": (
        nothing,
        "evaluate -w w --method cam --mean-over shep",
        "unknown class 'shep'",
        "did you mean 'sheep'",
    ),
    "thresholds that are none": (
        nothing,
        "evaluate -w w --method cam --thresholds 0-1",
        "'0-1' is not a number",
        r"start:stop:step",
    ),
    "no masks": (
        move("data/SegmentationClass"),
        "evaluate -w w --method cam",
        "no photo of the split 'train' has a mask",
        "--masks",
    ),
    "a list with a stranger": (
        write("list.txt", "2007_000000\n2007_0000xx\n"),
        "generate -w w --split list.txt",
        "lists 1 of 2 names without a photo, the first is '2007_0000xx'",
        "take the names off the list",
    ),
    "classes in another order": (
        write("turned.txt", "train\nsheep\n"),
        "generate -w w --dataset voc --root data --labels data/labels.csv --classes turned.txt",
        r"\(train, sheep, …\) are not those of the features \(sheep, train, …\)",
        "--classes",
    ),
    "photos that moved": (move("data"), "generate -w w", "data does not exist", "--root"),
    "weights that moved": (move("net.pth"), "generate -w w --method lpcam", r"net\.pth does not exist", "--weights"),
    "weights trained further": (
        other_weights,
        "generate -w w --method lpcam",
        "other weights than the features",
        "put the old file back",
    ),
    "a device that is not there": (
        nothing,
        "generate -w w --method lpcam --device cuda:99",
        r"no device 'cuda:99' here \(\d+ CUDA devices\)",
        "--device cpu",
    ),
    "k-means on such a device": (
        nothing,
        "cluster -w w --overwrite --device cuda:99",
        "no device 'cuda:99'",
        "--device cpu",
    ),
    "no device at all": (nothing, "cluster -w w --overwrite --device gpu", "unknown device 'gpu'", "auto, cpu, cuda"),
    "an output in the way": (
        nothing,
        "generate -w w --method lpcam --out net.pth",
        r"cannot write .*net\.pth",
        "check permissions",
    ),
    "seeds onto themselves": (
        nothing,
        "convert --from w/seeds/cam/irn --from-refiner irn --to w/seeds/cam/irn --to-refiner psa",
        "cannot be converted in their own folder",
        "--to",
    ),
    "text for a checkpoint": (nothing, "inspect data/labels.csv", r"data/labels\.csv is text", "give a workspace"),
    "inspect of nothing": (nothing, "inspect nowhere", "nowhere does not exist", "give a workspace"),
    "a picture that is none": (
        nothing,
        "inspect data/JPEGImages/2007_000000.jpg -w w --method cam -o x.bmp",
        r"x\.bmp",
        r"ends in \.png",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line(what, place):
    damage, line, found, advice = MISTAKES[what]
    damage(place)
    before = sorted(path for path in place.rglob("*") if path.is_file())
    code, stdout, stderr = run(line)
    (said,) = [said for said in stderr.splitlines() if said.startswith("Error:")]
    assert code == 1
    assert stdout == ""
    assert re.search(found, said), said
    assert re.search(advice, said), said
    assert len(said) < 600, "a line that can be read"
    made = {path.name for path in place.rglob("*") if path.is_file()} - {path.name for path in before}
    assert not {name for name in made if not name.startswith(".lpcam")}, "nothing is left behind"


def test_a_photo_that_cannot_be_read_is_exit_code_3_and_says_what_next(place):
    (place / "data/JPEGImages/2007_000004.jpg").write_bytes(b"no photo")
    code, stdout, stderr = run("extract-features {data} --arch demo --weights {ckpt} --scales 1 -w {new}")
    assert code == 3
    assert "failed: 2007_000004: cannot read" in stderr
    assert "next: replace the photos that failed, or take them off the list" in stdout
    assert "next: lpcam cluster -w new" in stdout
