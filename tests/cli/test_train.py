"""``lpcam train sipe`` and ``lpcam train cpal``: trained, seen by every method of the corridor."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click import Context, Group
from click.testing import CliRunner
from lpcam_cli.main import main

QUICK = ("--epochs", 2, "--batch-size", 3, "--crop", 32, "--lr", 0.005, "--val-split", "train", "--device", "cpu")
PAGE = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^(?: {4})?(?:torchrun .*?)?(lpcam .*)$", PAGE, re.MULTILINE)


def lpcam(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photos(voc_root):
    return (
        *("--dataset", "voc", "--root", voc_root, "--labels", voc_root / "labels.csv"),
        *("--classes", voc_root / "classes.txt"),
    )


def test_a_trained_sipe_is_a_classifier_for_the_whole_corridor(photos, checkpoint, tmp_path):
    out, model = tmp_path / "sipe.pth", ("--arch", "demo", "--weights")
    result = lpcam("train", "sipe", *photos, *model, checkpoint, *QUICK, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "consistency" in result.stdout.splitlines()[0]
    assert f"next: lpcam extract-features {' '.join(map(str, photos))} --arch demo --weights {out}" in result.stdout
    assert "class weights" in result.stderr
    assert out.with_name("sipe.pth.png").is_file()
    run = ("run", *photos, *model, out, "--k", 2, "--scales", "1", "-w", tmp_path / "w", "--method", "lpcam,iscam")
    result = lpcam(*run)
    assert result.exit_code == 0, result.stderr
    for method in ("lpcam", "iscam"):
        assert len(list((tmp_path / "w/seeds" / method / "irn").glob("*.npy"))) == 6


def test_cpal_takes_its_options_and_prints_json(photos, checkpoint, tmp_path):
    train = ("train", "cpal", *photos, "--arch", "demo", "--weights", checkpoint, *QUICK, "--out", tmp_path / "c.pth")
    own = ("--metric", "cosine", "--top", 2, "--tau", 0.2, "--bank-size", 3, "--k", 2, "--no-alignment")
    result = lpcam(*train, *own, "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert list(value["losses"]) == ["classification", "consistency"]
    assert 0 <= value["miou"] == value["miou_per_epoch"][1] <= 1
    made = json.loads((tmp_path / "c.pth.json").read_text())["cpal"]
    assert made["awareness"] == {
        **{"metric": "cosine", "top": 2, "tau": 0.2},
        **{"bank": True, "alignment": False, "positiveness": True},
    }
    assert (made["support"]["bank"], made["support"]["k"], made["warm_up"]) == (3, 2, 1)
    again = json.loads(lpcam(*train, *own, "--json").stdout)
    assert (again["images"], again["loss"]) == (0, value["loss"])
    assert "--overwrite" in lpcam(*train).stderr


@pytest.mark.parametrize("system", ["sipe", "cpal"])
def test_every_system_has_help_with_an_example_and_the_shared_options(system):
    text = lpcam("train", system, "--help").stdout
    assert f"lpcam train {system}" in text
    for option in ("--json", "--device", "--seed", "--overwrite", "--val-split", "--lr"):
        assert option in text
    assert system in lpcam("train", "--help").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "dott"], "expected a metric of dot, cosine"),
        (["--warm-up", 0], "warm-up is 0"),
        (["--bank-size", 0], "bank is 0"),
        (["--crop", 0], "crop is 0"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(photos, checkpoint, tmp_path, options, message):
    model = ("--arch", "demo", "--weights", checkpoint)
    result = lpcam("train", "cpal", *photos, *model, *options, "--out", tmp_path / "n.pth")
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_photos_and_a_network_are_needed(tmp_path):
    assert "--dataset, --root and --arch" in lpcam("train", "sipe", "--out", tmp_path / "n.pth").stderr


@pytest.mark.parametrize("line", DOCUMENTED)
def test_every_command_of_the_page_can_be_parsed(line):
    command, (_, *words) = main, shlex.split(line)
    while isinstance(command, Group):
        name = words.pop(0)
        command = command.get_command(Context(command), name)
        assert command is not None, name
    command.make_context(name, words)


def test_the_page_shows_both_systems_their_options_and_the_ablations():
    assert len(DOCUMENTED) >= 11
    for option in ("train sipe", "train cpal", "--no-bank", "--no-alignment", "--no-positiveness", "--metric"):
        assert any(option in line for line in DOCUMENTED), option
    for option in ("--keep-head", "--bank-size", "--warm-up", "--tau", "--top"):
        assert option in PAGE
