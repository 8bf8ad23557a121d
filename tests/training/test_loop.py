"""What every training shares: the log and the plot, validation by seeds, several processes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam import corridor
from lpcam.backbones import load_trunk
from lpcam.engines import Share
from lpcam.errors import LpcamError
from lpcam.records import Execution
from lpcam.sources import ClassifierSource
from lpcam.training import Recipe, train_classifier
from lpcam.training.log import TrainingLog, plot
from lpcam.training.loop import plan
from lpcam.training.processes import Processes
from lpcam.training.run import Run
from lpcam.workspace import Workspace
from tests.training.test_classifier import interrupting
from tests.training.together import two_processes

QUICK = Recipe(epochs=2, batch_size=2, lr=0.05, crop=32)


def train(data, checkpoint, out, **options):
    return train_classifier(
        data, "demo", out, **{"weights": checkpoint, "recipe": QUICK, "device": "cpu", "workers": 0, **options}
    )


def lines(out):
    return [json.loads(line) for line in out.with_name(f"{out.name}.log.jsonl").read_text().splitlines()]


def test_the_log_has_a_line_a_step_and_goes_on_where_the_training_does(data, checkpoint, tmp_path):
    one, two = tmp_path / "one.pth", tmp_path / "two.pth"
    report = train(data, checkpoint, one, val_split="train")
    with pytest.raises(KeyboardInterrupt):
        train(data, checkpoint, two, val_split="train", progress=interrupting(5))
    assert len(lines(two)) == 5
    with two.with_name("two.pth.log.jsonl").open("a") as file:
        file.write('{"step": 6, "clas')  # killed in the middle of a line
    train(data, checkpoint, two, val_split="train")
    written, again = lines(one), lines(two)
    assert [line["step"] for line in again] == [1, 2, 3, 4, 5, 6]
    for line, same in zip(written, again, strict=True):
        assert line.pop("seconds") >= 0
        del same["seconds"]
        assert line == same
    assert [line["epoch"] for line in written] == [1, 1, 1, 2, 2, 2]
    assert written[3]["rate"] == pytest.approx(0.05 * 0.5**0.9)
    assert np.mean([line["classification"] for line in written[3:]]) == pytest.approx(report.loss[1])
    assert [(line["map"], line["miou"]) for line in written if "map" in line] == list(
        zip(report.map, report.miou, strict=True)
    )


def test_the_plot_is_a_picture_with_and_without_scores(tmp_path):
    losses = np.linspace(2, 1, 40).reshape(20, 2)
    for name, scores in (("a.png", [[0.5, np.nan], [0.6, 0.2]]), ("b.png", [[np.nan, np.nan]] * 2)):
        plot(tmp_path / name, losses, np.array(scores), ("one", "two"), 10)
    heights = [Image.open(tmp_path / name).size[1] for name in ("a.png", "b.png")]
    assert heights[0] > heights[1] > 100


def test_a_log_of_nobody_is_begun_anew(tmp_path):
    log = TrainingLog(tmp_path / "x.jsonl")
    log.cut(3)
    log.append({"step": 4})
    log.cut(3)
    assert (tmp_path / "x.jsonl").read_text() == ""


def test_seed_miou_is_what_the_corridor_finds_for_the_same_classifier(data, checkpoint, tmp_path):
    report = train(data, checkpoint, tmp_path / "net.pth", val_split="train")
    workspace = Workspace(tmp_path / "w")
    classifier = ClassifierSource("demo", tmp_path / "net.pth")
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), execution=Execution("cpu"))
    corridor.generate(workspace, methods=("cam",), scales=(1.0,), execution=Execution("cpu"))
    assert report.miou[-1] == pytest.approx(corridor.evaluate(workspace, method="cam").curve.best.miou)
    value = report.as_json()
    assert value["miou"] == value["miou_per_epoch"][1] == report.miou[-1]
    assert "NaN" not in json.dumps(value)


def test_masks_of_other_classes_stop_no_training(data, checkpoint, tmp_path):
    Image.fromarray(np.full((48, 64), 9, np.uint8)).save(data.root / "SegmentationClass/2007_000000.png")
    report = train(data, checkpoint, tmp_path / "net.pth", val_split="train")
    assert report.miou == (None, None)
    assert None not in report.map
    (notice,) = (line for line in report.notices if "seeds" in line)
    assert "2007_000000" in notice


def test_parts_of_the_processes_are_the_batch(data, checkpoint, tmp_path):
    recipe = replace(QUICK, batch_size=4)
    run = Run.of(data.open(), None, load_trunk("demo", checkpoint), recipe, 0, tmp_path / "x.pth")
    whole = list(plan(run, 1))
    first, second = (list(plan(run, 1, Processes(Share(rank, 2)))) for rank in range(2))
    assert len(whole) == 4
    assert whole == first + second
    with pytest.raises(LpcamError, match=r"batch of 3 cannot be divided among 2 processes: .*multiple of 2"):
        Processes(Share(0, 2)).part_of(3)


TOGETHER = """
import json, os, sys
from pathlib import Path
import torch
from lpcam_cli.main import main
from lpcam.methods.pacam import Awareness
from lpcam.sources import DataSource
from lpcam.training import CpalRecipe, Recipe, train_cpal, train_sipe

root, weights, out = map(Path, sys.argv[1:])
if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")
photos = f"--dataset voc --root {root} --labels {root}/labels.csv --classes {root}/classes.txt --val-split train"
recipe = "--epochs 2 --batch-size 2 --lr .005 --crop 32 --workers 0 --device cpu"
command = f"train-classifier {photos} {recipe} --arch demo --weights {weights} --out {out}/classifier.pth --json"
main(command.split(), standalone_mode=False)

data = DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")
recipe = Recipe(epochs=2, batch_size=2, lr=0.005, crop=32)
options = {"weights": weights, "recipe": recipe, "val_split": "train", "device": "cpu", "workers": 0}
learned = CpalRecipe(Awareness(metric="learned"))
reports = [
    train_sipe(data, "demo", out / "sipe.pth", **options),
    train_cpal(data, "demo", out / "cpal.pth", cpal=learned, **options),
]
print(json.dumps([(report.losses, report.map, report.miou) for report in reports]))
"""


def test_two_processes_train_what_one_trains_and_only_the_first_speaks(data, checkpoint, tmp_path, capsys, monkeypatch):
    arguments = [data.root, checkpoint]
    both = two_processes("-c", TOGETHER, *arguments, tmp_path / "two")
    assert [process.returncode for process in both] == [0, 0], both[0].stderr + both[1].stderr
    (classifier, first), (second,) = (process.stdout.splitlines() for process in both)
    assert json.loads(first) == json.loads(second)
    assert "train:" not in both[1].stderr
    monkeypatch.setattr("sys.argv", ["-c", *map(str, arguments), str(tmp_path / "one")])
    exec(TOGETHER, {})  # noqa: S102
    own_classifier, own = capsys.readouterr().out.splitlines()
    for name in ("loss", "map_per_epoch", "miou_per_epoch"):
        assert json.loads(classifier)[name] == pytest.approx(json.loads(own_classifier)[name], rel=1e-3, abs=2e-3)
    for together, alone in zip(json.loads(first), json.loads(own), strict=True):
        assert together[0] == {name: pytest.approx(values, rel=1e-3) for name, values in alone[0].items()}
        assert together[1:] == [pytest.approx(scores, abs=5e-3) for scores in alone[1:]]
    for name in ("classifier.pth", "sipe.pth", "cpal.pth"):
        one, two = (torch.load(tmp_path / kind / name, weights_only=True) for kind in ("one", "two"))
        for key in one:
            torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-4)
    assert [line["step"] for line in lines(tmp_path / "two/classifier.pth")] == [1, 2, 3, 4, 5, 6]
