"""refiners: refine.sh and the thresholds of the next step."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from lpcam.refiners import REFINERS, get_refiner
from lpcam.refiners.next_step import SCRIPT, Origin
from lpcam.refiners.writing import write_next_step

IRN_LIKE = ("irn", "lpcam", "recam", "advcam", "amn")
NUMBERS = {  # (family, method, data set): the numbers of the settings, in their order
    **{
        (name, "lpcam", dataset): [0.30, 0.45, 0.25, 0.35] for name in IRN_LIKE for dataset in ("voc", "coco", "folder")
    },
    ("irn", "class-prototypes", "voc"): [0.30, 0.45, 0.25, 0.35],
    ("irn", "cam", "voc"): [0.15, 0.30, 0.05, 0.25],
    ("irn", "cam", "coco"): [0.15, 0.30, 0.05, 0.25],
    ("lpcam", "cam", "voc"): [0.15, 0.30, 0.05, 0.25],
    ("recam", "cam", "voc"): [0.21, 0.35, 0.10, 0.28],
    ("recam", "cam", "coco"): [0.15, 0.35, 0.10, 0.25],
    ("advcam", "cam", "voc"): [0.35, 0.15, 0.25],
    ("amn", "cam", "voc"): [0.25, 0.45, 0.15, 0.25],
    ("amn", "cam", "coco"): [0.25, 0.45, 0.15, 0.22],
    ("psa", "lpcam", "voc"): [4, 32, 16],
    ("seam", "cam", "voc"): [4, 24, 6],
    ("edam", "lpcam", "voc"): [0.2, 0.000001, 0.99999],
    ("mctformer", "lpcam", "voc"): [0, 0.60, 1, 12, 0.39],
    ("clip-es", "lpcam", "voc"): [0.95, 255],
    ("sipe", "lpcam", "voc"): [0, 0.5, 1, 3],
}
ADDED = {  # what refine.sh adds to the command; {} is the folder of the seeds
    "irn": "--cam_out_dir {}",
    "lpcam": "--work_space WORK",
    "recam": "--work_space WORK",
    "advcam": "",
    "amn": "--amn_cam_out_dir {}",
    "psa": "",
    "seam": "",
    "edam": "",
    "mctformer": "--cam-npy-dir {}",
    "clip-es": "--cam_out_dir {}",
    "sipe": "",
}
PLACES = {"lpcam": "lpcam_mask", "recam": "cam_mask", "advcam": "cam_adv_mask", "sipe": "npy"}


def run(folder, *command, **variables):
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["sh", str(folder / SCRIPT), *command], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize(("name", "method", "dataset"), sorted(NUMBERS))
def test_thresholds_of_the_table(name, method, dataset):
    step = get_refiner(name).next_step(Origin(method, dataset))
    settings = (re.sub(r"(la_crf|ha_crf|crf_[\d.]+): ", ": ", line) for line in step.settings)
    numbers = [float(number) for line in settings for number in re.findall(r"\d+(?:\.\d+)?", line)]
    assert numbers == NUMBERS[name, method, dataset]


@pytest.mark.parametrize("name", sorted(REFINERS))
def test_the_script_runs_the_command_on_the_seeds(tmp_path, name):
    folder, work = tmp_path / "the seeds", tmp_path / "the work"
    refiner = get_refiner(name)
    (line,) = write_next_step(refiner, folder, Origin())
    assert line.startswith(f"sh {folder / SCRIPT} COMMAND")
    variables = {"WORK_SPACE": str(work), "SESSION": str(work)}
    done = run(folder, "printf", "%s|", "python", "their_step.py", **variables)
    assert done.returncode == 0, done.stderr
    added = [word.replace("WORK", str(work)).replace("{}", str(folder)) for word in ADDED[name].split()]
    assert done.stdout.split("|")[:-1] == ["python", "their_step.py", *added]
    if name in PLACES:
        assert (work / PLACES[name]).resolve() == folder.resolve()
        assert run(folder, "true", **variables).returncode == 0  # again
    else:
        assert not work.exists()


@pytest.mark.parametrize("name", sorted(REFINERS))
def test_the_script_alone_shows_the_thresholds(tmp_path, name):
    refiner = get_refiner(name)
    write_next_step(refiner, tmp_path, Origin())
    shown = run(tmp_path).stdout
    assert shown.startswith("The next step of ")
    for setting in refiner.next_step(Origin()).settings:
        assert f"  {setting}" in shown.splitlines()
    assert refiner.title in shown
    assert "set -eu" not in shown


@pytest.mark.parametrize("name", sorted(PLACES))
def test_a_folder_in_the_way_is_not_touched(tmp_path, name):
    folder, work = tmp_path / "seeds", tmp_path / "work"
    write_next_step(get_refiner(name), folder, Origin())
    (work / PLACES[name]).mkdir(parents=True)
    done = run(folder, "true", WORK_SPACE=str(work), SESSION=str(work))
    assert done.returncode == 1
    assert "in the way" in done.stderr
    assert list((work / PLACES[name]).iterdir()) == []
    environment = {name: value for name, value in os.environ.items() if name not in ("WORK_SPACE", "SESSION")}
    missing = subprocess.run(
        ["sh", str(folder / SCRIPT), "true"], capture_output=True, text=True, env=environment, check=False
    )
    assert missing.returncode != 0
    assert "set it to" in missing.stderr


def test_every_flag_is_one_that_is_known():
    """Of the arguments REFINERS.md names, and no other."""
    known = {"--cam_out_dir", "--amn_cam_out_dir", "--work_space", "--cam-npy-dir"}
    for name in REFINERS:
        step = get_refiner(name).next_step(Origin())
        assert {argument for argument in step.arguments if not argument.startswith("$")} <= known
