"""A MobileNet on real photos: the loss falls, an interruption changes no byte, the corridor runs on the checkpoint."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from lpcam_cli.main import main

from lpcam.sources import DataSource
from lpcam.training import Recipe, train_classifier
from tests.training.test_classifier import interrupting

ARCH = "torchvision/mobilenet_v2"
RECIPE = Recipe(epochs=3, batch_size=4, crop=96)


@pytest.mark.real
def test_from_imagenet_to_seeds(real_data, tmp_path):
    data, weights = real_data / "data/coco20", real_data / "data/weights/mobilenet_v2_imagenet.pth"
    names = (data / "ImageSets/Segmentation/train.txt").read_text().split()[:8]
    (tmp_path / "few.txt").write_text("\n".join(names) + "\n")
    source = DataSource("voc", data, str(tmp_path / "few.txt"), labels=data / "labels.csv")
    options = {"weights": weights, "recipe": RECIPE, "device": "cpu", "workers": 2}
    straight = train_classifier(source, ARCH, tmp_path / "one/net.pth", **options)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(source, ARCH, tmp_path / "two/net.pth", progress=interrupting(3), **options)
    resumed = train_classifier(source, ARCH, tmp_path / "two/net.pth", **options)
    assert resumed.first_step == 2
    assert (tmp_path / "one/net.pth").read_bytes() == (tmp_path / "two/net.pth").read_bytes()
    assert straight.loss[-1] < 0.8 * straight.loss[0]

    photos = ("--dataset", "voc", "--root", data, "--split", tmp_path / "few.txt", "--labels", data / "labels.csv")
    network = ("--arch", ARCH, "--weights", tmp_path / "one/net.pth", "--scales", "1", "-w", tmp_path / "w")
    for command in (["extract-features", *photos, *network], ["cluster", "--k", 3, "-w", tmp_path / "w"]):
        result = CliRunner().invoke(main, [str(word) for word in command])
        assert result.exit_code == 0, result.stderr
    result = CliRunner().invoke(main, ["generate", "--method", "lpcam,cam", "-w", str(tmp_path / "w"), "--json"])
    assert json.loads(result.stdout)["images"] == 8
    assert len(list((tmp_path / "w/seeds/lpcam/irn").glob("*.npy"))) == 8
