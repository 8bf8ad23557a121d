"""IRN, LPCAM and ReCAM: run(args) with their own bags, then what their next step does with the files."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

import lpcam.dropin.irn as make_cam
from lpcam.dropin import amn as make_amn_cam
from lpcam.dropin import lpcam as make_lpcam
from lpcam.dropin import recam
from lpcam.errors import LpcamError

from .conftest import LABELS, SIZES, Place


def as_irn_reads(folder: Path, name: str) -> np.ndarray:
    """Do what eval_cam, cam_to_ir_label and make_sem_seg_labels do with a photo's file; return its objects."""
    height, width = SIZES[name]
    seeds = np.load(folder / f"{name}.npy", allow_pickle=True).item()
    assert list(np.asarray(seeds["keys"])) == list(LABELS[name])
    assert isinstance(seeds["cam"], torch.Tensor)  # the reader calls .cuda()
    assert seeds["cam"].shape == (len(LABELS[name]), (height - 1) // 4 + 1, (width - 1) // 4 + 1)
    padded = np.pad(seeds["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=0.45)
    keys = np.pad(np.asarray(seeds["keys"]) + 1, (1, 0))
    labels = keys[padded.argmax(axis=0)]
    assert labels.shape == (height, width)
    assert 0 <= seeds["high_res"].min() <= seeds["high_res"].max() <= 1
    return labels > 0


def are_all_written(folder: str) -> None:
    """Check the files of all photos; a place is an object in some, and background in some."""
    objects = np.concatenate([as_irn_reads(Path(folder), name).ravel() for name in SIZES])
    assert 0.05 < objects.mean() < 0.95


def bag(place: Place, **others: object) -> Namespace:
    """Return the bag that IRN's run_sample.py makes, as far as its steps around the CAM look at it."""
    known = {
        "num_workers": 2,
        "voc12_root": str(place.voc),
        "train_list": "voc12/train_aug.txt",
        "val_list": "voc12/val.txt",
        "infer_list": "voc12/train.txt",
        "cam_network": "net.resnet50_cam",
        "cam_crop_size": 512,
        "cam_scales": (1.0, 0.5),
        "cam_weights_name": "sess/res50_cam.pth",
        "cam_out_dir": "result/cam",
    }
    return Namespace(**{**known, **others})


def save(state: dict[str, torch.Tensor], path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)


def bytes_of(folder: str) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(folder).glob("*.npy")}


def test_irn_from_its_own_arguments_and_again(place, resnet50_state, capfd):
    save(resnet50_state, "sess/res50_cam.pth.pth")  # as IRN saves it
    args = bag(place)
    before = dict(vars(args))
    make_cam.run(args)
    for name in SIZES:
        as_irn_reads(Path("result/cam"), name)
    said = capfd.readouterr().err
    assert "resnet50" in said
    assert "--conf_fg_thres 0.45 --conf_bg_thres 0.25 --sem_seg_bg_thres 0.35" in said
    assert vars(args) == before
    assert not {"net", "net.resnet50_cam"} & set(sys.modules)
    made = bytes_of("result/cam")
    assert sorted(made) == sorted(f"{name}.npy" for name in SIZES)
    make_cam.run(args)
    assert bytes_of("result/cam") == made
    assert "4 were there already" in capfd.readouterr().err


def test_an_interrupted_run_goes_on(place, small_state):
    save(small_state, "sess/res50_cam.pth")  # and as others do
    make_cam.run(bag(place))
    made = bytes_of("result/cam")
    Path("result/cam/2008_000001.npy").unlink()
    make_cam.run(bag(place))
    again = bytes_of("result/cam")
    assert {name: content for name, (content, _) in again.items()} == {
        name: content for name, (content, _) in made.items()
    }
    assert again["2007_000032.npy"] == made["2007_000032.npy"]


def test_lpcam_finds_its_files_under_the_work_space(place, small_state):
    save(small_state, "result_default5/res50_cam.pth")
    args = bag(place, work_space="result_default5", cam_weights_name="res50_cam.pth", lpcam_out_dir="lpcam_mask")
    make_lpcam.run(args)
    are_all_written("result_default5/lpcam_mask")
    made = bytes_of("result_default5/lpcam_mask")
    joined = bag(
        place,
        work_space="result_default5",
        cam_weights_name="result_default5/res50_cam.pth",
        lpcam_out_dir="result_default5/lpcam_mask",
    )
    make_lpcam.run(joined)  # a script that joined the paths itself
    assert bytes_of("result_default5/lpcam_mask") == made
    assert not Path("result_default5/result_default5").exists()


def test_recam_from_its_own_arguments(place, small_state):
    save(small_state, "result/res50_cam.pth")
    recam.run(bag(place, work_space="result", cam_weights_name="res50_cam.pth", cam_out_dir="cam_mask"))
    are_all_written("result/cam_mask")


def test_amn_gets_its_background_channel(place, small_state):
    save(small_state, "sess/res50_cam.pth")
    others = {"amn_network": "net.resnet50_amn", "amn_weights_name": "sess/res50_amn", "eps": 0.1}
    make_amn_cam.run(bag(place, cam_weights_name="sess/res50_cam", amn_cam_out_dir="result/amn_cam", **others))
    for name, (height, width) in SIZES.items():
        seeds = np.load(f"result/amn_cam/{name}.npy", allow_pickle=True).item()
        assert list(seeds["keys"]) == list(LABELS[name])
        assert isinstance(seeds["cam"], torch.Tensor)
        assert seeds["cam"].shape == (len(LABELS[name]) + 1, (height - 1) // 4 + 1, (width - 1) // 4 + 1)
        padded = np.pad(seeds["high_res"][1:], ((1, 0), (0, 0), (0, 0)), constant_values=0.45)
        keys = np.pad(np.asarray(seeds["keys"]) + 1, (1, 0))
        assert keys[padded.argmax(axis=0)].shape == (height, width)
    assert not Path("result/cam").exists()


@pytest.mark.parametrize(
    "lines",
    [
        [name.replace("_", "") for name in SIZES],
        [f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png" for name in SIZES],
    ],
    ids=["int-coded", "photo and mask"],
)
def test_lists_in_every_form_and_scales_as_a_command_line_leaves_them(lines, place, small_state):
    save(small_state, "sess/res50_cam.pth")
    train_list = place.list_of("other.txt", lines)
    make_cam.run(bag(place, train_list=train_list, cam_scales="(0.5, 1.0)"))
    are_all_written("result/cam")


def test_knobs_come_from_attributes_then_from_the_environment(place, small_state, monkeypatch):
    save(small_state, "sess/res50_cam.pth")
    monkeypatch.setenv("LPCAM_METHOD", "class-prototypes")
    report = make_cam.run(bag(place, lpcam_method="cam", lpcam_workspace="elsewhere", lpcam_k=2))
    assert report.workspace == Path("elsewhere")
    assert Path("elsewhere/prototypes.safetensors").is_file()
    plain = bytes_of("result/cam")
    with pytest.raises(LpcamError, match="LPCAM_OVERWRITE=…"):
        make_cam.run(bag(place, lpcam_workspace="elsewhere", lpcam_k=2))
    assert bytes_of("result/cam") == plain
    monkeypatch.setenv("LPCAM_OVERWRITE", "1")
    make_cam.run(bag(place, lpcam_workspace="elsewhere", lpcam_k=2))
    assert bytes_of("result/cam")["2007_000032.npy"][0] != plain["2007_000032.npy"][0]


def test_two_gpus_get_a_process_each(place, small_state, monkeypatch):
    devices = []

    def pool(job, shards, places, threads, counted):
        devices.append(places)
        run = job.open("cpu")
        return [run(shard, lambda _: None) for shard in shards]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("lpcam.engines.local.map_on_processes", pool)
    save(small_state, "sess/res50_cam.pth")
    make_cam.run(bag(place))
    assert devices == [["cuda:0", "cuda:1"]] * 3
    are_all_written("result/cam")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"cam_weights_name": "sess/no.pth"}, "there is no sess/no.pth.pth nor sess/no.pth: check --cam_weights_name"),
        ({"train_list": "voc12/no.txt"}, "the list voc12/no.txt does not exist"),
        ({"voc12_root": "nowhere"}, "folder nowhere does not exist"),
        ({"voc12_root": None}, "args has no 'voc12_root'"),
        ({"cam_scales": "big"}, "cam_scales is 'big': give numbers"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"lpcam_k": "many"}, "LPCAM_K is 'many': give a whole number"),
        ({"lpcam_method": "lpcm"}, "did you mean 'lpcam'"),
    ],
)
def test_what_a_user_can_fix_is_one_line(change, line, place, small_state):
    save(small_state, "sess/res50_cam.pth")
    with pytest.raises(LpcamError) as caught:
        make_cam.run(bag(place, **change))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_no_known_architecture_is_not_guessed(place):
    save({"encoder.weight": torch.zeros(2)}, "sess/res50_cam.pth")
    with pytest.raises(LpcamError, match=r"cannot recognise the architecture .* name it with LPCAM_ARCH="):
        make_cam.run(bag(place))


def words_for(place: Place, weights: str) -> list[str]:
    paths = ["--voc12_root", str(place.voc), "--train_list", "voc12/train_aug.txt", "--cam_out_dir", "result/cam"]
    return [*paths, "--cam_weights_name", weights, "--cam_scales", "1", ".5"]


def test_the_command_says_a_wrong_path_in_one_line(place):
    line = [sys.executable, "-m", "lpcam.dropin.irn", *words_for(place, "sess/no")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    wrong = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    (said,) = wrong.stderr.splitlines()
    assert said.startswith("Error: cam_weights_name: there is no sess/no.pth nor sess/no: check")


def test_the_command_takes_the_scripts_other_arguments_and_says_so(place, small_state, capfd):
    save(small_state, "sess/res50_cam.pth")
    words = words_for(place, "sess/res50_cam")
    assert make_cam.REPOSITORY.main([*words, "--cam_network", "net.x"]) == 0
    assert "not needed here: --cam_network" in capfd.readouterr().err
    are_all_written("result/cam")
    with pytest.raises(SystemExit) as caught:
        make_cam.REPOSITORY.main(words[2:])
    assert caught.value.code == 2


def test_a_broken_photo_is_named_and_the_command_exits_with_3(place, small_state, capfd):
    save(small_state, "sess/res50_cam.pth")
    (place.voc / "JPEGImages/2008_000001.jpg").write_bytes(b"no photo")
    assert make_cam.REPOSITORY.main(words_for(place, "sess/res50_cam")) == 3
    assert "failed: 2008_000001" in capfd.readouterr().err
    assert len(list(Path("result/cam").glob("*.npy"))) == 3
