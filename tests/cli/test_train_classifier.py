"""``lpcam train-classifier``: from photos without a classifier to seeds, whole or with a frozen backbone."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main

QUICK = ("--epochs", 2, "--batch-size", 3, "--crop", 32, "--lr", 0.05)


def lpcam(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photos(voc_root):
    return (
        *("--dataset", "voc", "--root", voc_root, "--labels", voc_root / "labels.csv"),
        *("--classes", voc_root / "classes.txt"),
    )


def test_trained_from_nothing_it_goes_through_the_corridor(photos, tmp_path):
    train = ("train-classifier", *photos, "--arch", "demo", "--weights", "none", *QUICK, "--out", tmp_path / "n.pth")
    result = lpcam(*train, "--val-split", "train")
    assert result.exit_code == 0, result.stderr
    assert "mAP" in result.stdout
    step = f"next: lpcam extract-features {' '.join(map(str, photos))} --arch demo --weights {tmp_path / 'n.pth'}"
    assert step in result.stdout
    model = ("--arch", "demo", "--weights", tmp_path / "n.pth", "--k", 2, "--scales", "1,.5", "-w", tmp_path / "w")
    assert lpcam("run", *photos, *model).exit_code == 0
    assert len(list((tmp_path / "w/seeds/lpcam/irn").glob("*.npy"))) == 6


def test_json_has_loss_and_map_and_speed(photos, tmp_path):
    train = ("train-classifier", *photos, "--arch", "demo", "--weights", "none", *QUICK, "--out", tmp_path / "n.pth")
    result = lpcam(*train, "--val-split", "train", "--json")
    value = json.loads(result.stdout)
    assert result.stderr == ""
    assert {"loss", "map", "map_per_epoch", "seconds", "images_per_second", "steps", "first_step", "notices"} <= set(
        value
    )
    assert len(value["loss"]) == 2
    assert 0 <= value["map"] <= 1
    again = json.loads(lpcam(*train, "--val-split", "train", "--json").stdout)
    assert (again["images"], again["loss"]) == (0, value["loss"])


def test_a_frozen_backbone_gives_a_head_that_the_next_command_reads(photos, checkpoint, tmp_path):
    backbone = ("--arch", "demo", "--weights", checkpoint)
    frozen = ("train-classifier", "--freeze-backbone", "--l2", 0.01)
    result = lpcam(*frozen, *photos, *backbone, "--out", tmp_path / "head.npy")
    assert result.exit_code == 0, result.stderr
    assert f"--head {tmp_path / 'head.npy'}" in result.stdout
    run = ("extract-features", *photos, *backbone, "--head", tmp_path / "head.npy", "-w", tmp_path / "w")
    assert lpcam(*run).exit_code == 0
    again = lpcam(*frozen, "-w", tmp_path / "w", "--out", tmp_path / "again.safetensors", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["images"] == 6


def test_chosen_by_cross_validation_the_table_is_shown(photos, checkpoint, tmp_path):
    photos = [*photos, "--arch", "demo", "--weights", checkpoint]
    result = lpcam("train-classifier", "--freeze-backbone", *photos, "--out", tmp_path / "net.pth")
    assert result.exit_code == 0, result.stderr
    assert "l2" in result.stdout.splitlines()[0]
    assert "fc.weight" in torch.load(tmp_path / "net.pth", weights_only=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--l2", ".1"], "--l2 needs --freeze-backbone"),
        (["-w", "w"], "--workspace needs --freeze-backbone"),
        (["--freeze-backbone", "--epochs", 3], "--epochs does nothing with --freeze-backbone"),
        (["--freeze-backbone", "-w", "w"], "give either --dataset and --root, or a --workspace"),
        (["--freeze-backbone", "--weights", "none"], "--weights imagenet or a checkpoint"),
        (["--weights", "none", "--epochs", 0], "epochs is 0"),
        (["--weights", "none", "--device", "cuda:99"], "--device"),
    ],
)
def test_options_that_make_no_sense_are_one_line(photos, tmp_path, options, message):
    result = lpcam("train-classifier", *photos, "--arch", "demo", *options, "--out", tmp_path / "n.pth")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert result.stdout == ""


def test_photos_or_a_workspace_are_needed(tmp_path):
    assert "--dataset, --root and --arch" in lpcam("train-classifier", "--out", tmp_path / "n.pth").stderr
