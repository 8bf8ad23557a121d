"""train-classifier: IRN's recipe on small photos; what is interrupted goes on to the same bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lpcam.backbones import load_classifier, load_trunk
from lpcam.backbones.classifier import Blueprint
from lpcam.errors import LpcamError
from lpcam.files import write_json
from lpcam.sources import DataSource
from lpcam.training import Recipe, loop, train_classifier
from lpcam.training.checkpoint import Progressed
from lpcam.training.classifier import PooledClassifier
from lpcam.training.learner import Start
from lpcam.training.recipe import polynomial
from lpcam.training.run import Run
from lpcam.training.targets import label_matrix, mean_average_precision
from tests.tiny import TinyNet

NAMES = {"net.pth", "net.pth.json", "net.pth.log.jsonl", "net.pth.png", ".net.pth.lock"}
QUICK = Recipe(epochs=2, batch_size=4, lr=0.5, crop=24, momentum=0.5)


@pytest.fixture
def source(tmp_path):
    """Ten photos in a folder: `a_red` shows a red square, `blue` a blue one; `grey` is in the class list only."""
    return write_squares(tmp_path / "data", 10)


def write_squares(root, count):
    random = np.random.default_rng(0)
    root.mkdir(parents=True)
    lines = ["name,classes"]
    for index in range(count):
        pixels = random.integers(90, 140, (20 + index, 30, 3), dtype=np.uint8)
        pixels[5:15, 5 + index : 15 + index] = [(230, 20, 20), (20, 20, 230)][index % 2]
        Image.fromarray(pixels).save(root / f"p{index}.png")
        lines.append(f"p{index},{('a_red', 'blue')[index % 2]}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("a_red\nblue\ngrey\n")
    (root / "train.txt").write_text("".join(f"p{index}\n" for index in range(count)))
    return DataSource("folder", root, str(root / "train.txt"), root / "labels.csv", root / "classes.txt")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """Know the architecture ``tiny``, with batch norm and dropout."""
    monkeypatch.setitem(__import__("lpcam.backbones.loading", fromlist=["_BUILDERS"])._BUILDERS, "tiny", "tests.tiny")


def train(source, out, **options):
    return train_classifier(source, "tiny", out, **{"weights": None, "recipe": QUICK, "device": "cpu", **options})


def interrupting(at, error=KeyboardInterrupt):
    """Return a progress callback that dies once, when so many steps of the training are done."""
    dead = []

    def progress(stage, done, total):
        if (stage, done) == ("train", at) and not dead:
            dead.append(stage)
            raise error

    return progress


@pytest.mark.parametrize(
    ("workers", "at", "kept", "seconds"), [(0, 2, 2, 600), (3, 3, 2, 600), (2, 3, 3, 0), (1, 4, 4, 600)]
)
def test_interrupted_and_gone_on_with_ends_in_the_same_bytes(source, tmp_path, workers, at, kept, seconds, monkeypatch):
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_SAVES", seconds)
    straight = train(source, tmp_path / "one/net.pth", val_split=source.split, workers=0)
    with pytest.raises(KeyboardInterrupt):
        train(source, tmp_path / "two/net.pth", val_split=source.split, workers=workers, progress=interrupting(at))
    assert not (tmp_path / "two/net.pth").exists()
    torch.rand(3)  # the caller's generator has no part in it
    resumed = train(source, tmp_path / "two/net.pth", val_split=source.split, workers=2 - workers % 2)
    assert (straight.first_step, resumed.first_step) == (0, kept)
    assert (resumed.loss, resumed.map, resumed.steps) == (straight.loss, straight.map, 4)
    for name in ("net.pth", "net.pth.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert {path.name for path in (tmp_path / "two").iterdir()} == NAMES


def test_the_state_in_between_is_tensors_of_the_last_epoch(source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(source, tmp_path / "net.pth", progress=interrupting(3))
    state = torch.load(tmp_path / "net.pth.unfinished", weights_only=True)
    assert (state["step"], len(state["losses"])) == (2, 2)
    assert all(torch.is_tensor(value["momentum_buffer"]) for value in state["optimiser"].values())


def test_a_step_is_that_of_the_formula(source, tmp_path):
    """One step of one batch, recomputed: soft margin, w · mean f without bias, rates, decay."""
    recipe = Recipe(epochs=1, batch_size=10, lr=0.3, head_lr_factor=7, weight_decay=0.01, crop=24)
    report = train(source, tmp_path / "net.pth", recipe=recipe, seed=5)
    found = torch.load(tmp_path / "net.pth", weights_only=True)
    trunk = load_trunk("tiny", None, seed=5).train()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = torch.nn.Linear(trunk.channels, 3, bias=False).weight
    run = Run.of(source.open(), None, load_trunk("tiny", None, seed=5), recipe, 5, tmp_path / "x.pth")
    training = loop.Loop(run, PooledClassifier(Start(run.trunk, 3, 5, fix_norms=False)), 0, print)
    images, targets = next(training.batches(0))
    torch.manual_seed(loop.derived_seed(5, 0, loop._STEP))
    logits = trunk(images).mean(dim=(2, 3)) @ head.T
    loss = -(targets * F.logsigmoid(logits) + (1 - targets) * F.logsigmoid(-logits)).mean()
    torch.autograd.backward(loss)
    assert report.loss[0] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(found["fc.weight"], head - 2.1 * (head.grad + 0.01 * head))
    weight = trunk.stages[0].weight
    torch.testing.assert_close(found["features.0.weight"], weight - 0.3 * (weight.grad + 0.01 * weight))


def test_every_epoch_has_its_own_order_without_a_photo_twice(source, tmp_path):
    run = Run.of(source.open(), None, load_trunk("tiny", None), QUICK, 0, tmp_path / "x.pth")
    rows = [row for _, row in loop.plan(run, 0)]
    assert [len(set(rows[:8])), len(set(rows[8:]))] == [8, 8]
    assert rows[:8] != rows[8:]
    assert list(loop.plan(run, 3)) == [(3, row) for row in rows[12:]]


def test_rates_fall_as_a_polynomial_and_the_heads_is_larger(source, tmp_path, monkeypatch):
    rates, step = [], torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, *args: rates.append([group["lr"] for group in self.param_groups]) or step(self, *args),
    )
    train(source, tmp_path / "net.pth")
    expected = [0.5 * polynomial(done / 4, 0.9) for done in range(4)]
    assert [rate for rate, _ in rates] == pytest.approx(expected)
    assert [rate for _, rate in rates] == pytest.approx([10 * rate for rate in expected])


def test_batch_norm_learns_from_scratch_and_stays_where_weights_were_given(source, tmp_path):
    train(source, tmp_path / "scratch.pth")
    scratch = torch.load(tmp_path / "scratch.pth", weights_only=True)
    train(source, tmp_path / "tuned.pth", weights=tmp_path / "scratch.pth", recipe=replace(QUICK, lr=0.05))
    tuned = torch.load(tmp_path / "tuned.pth", weights_only=True)
    fresh = load_trunk("tiny", None).state_dict()["stages.1.running_mean"]
    assert not torch.equal(scratch["features.1.running_mean"], fresh)
    assert torch.equal(tuned["features.1.running_mean"], scratch["features.1.running_mean"])
    assert torch.equal(tuned["features.1.running_var"], scratch["features.1.running_var"])
    for name in ("features.1.weight", "features.0.weight", "fc.weight"):
        assert not torch.equal(tuned[name], scratch[name])


def test_it_learns_and_the_checkpoint_is_an_ordinary_one(source, tmp_path):
    recipe = Recipe(epochs=8, batch_size=5, lr=0.5, crop=24)
    report = train(source, tmp_path / "net.pth", recipe=recipe, val_split=source.split)
    assert report.loss[-1] < 0.5 * report.loss[0]
    assert report.map[-1] == pytest.approx(1.0)
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    network = TinyNet(3)
    network.load_state_dict({"features.1.num_batches_tracked": torch.tensor(0), **state}, strict=True)
    assert state["fc.bias"].tolist() == [0, 0, 0]
    model = load_classifier("tiny", tmp_path / "net.pth", num_classes=3)
    images = torch.rand(2, 3, 16, 16)
    logits = model.features(images).mean(dim=(2, 3)) @ model.class_weights.T
    torch.testing.assert_close(network.eval()(images), logits)


def test_names_of_a_checkpoint_are_those_its_architecture_reads():
    trunk = load_trunk("tiny", None)
    blueprint = replace(trunk._blueprint[0], rename=lambda key: key if key.startswith("fc.") else f"features.{key}")
    other = type(trunk)("tiny", blueprint, trunk.channels, trunk.stride)
    assert set(other.checkpoint(torch.ones(3, trunk.channels))) >= {"0.weight", "1.running_var", "fc.weight", "fc.bias"}


def test_what_is_finished_is_not_done_again_and_what_belongs_to_another_run_is_kept(source, tmp_path):
    out = tmp_path / "net.pth"
    first = train(source, out)
    before = out.read_bytes()
    again = train(source, out)
    assert (again.images, again.loss, again.map) == (0, first.loss, (None, None))
    for other in ({"seed": 1}, {"recipe": replace(QUICK, lr=0.4)}, {"weights": out}):
        with pytest.raises(LpcamError, match=r"other photos, options or first weights.*--overwrite"):
            train(source, out, **other)
    assert out.read_bytes() == before
    assert train(source, out, seed=1, overwrite=True).images == 16
    assert out.read_bytes() != before
    assert train(source, out, seed=1, overwrite=True).images == 16


@pytest.mark.parametrize("change", [{"losses": "a"}, {"losses": [["a"]]}, {"map_per_epoch": None}, {"losses": 3}])
def test_a_description_of_something_else_is_one_line(source, tmp_path, change):
    train(source, tmp_path / "net.pth")
    described = json.loads((tmp_path / "net.pth.json").read_text())
    described.pop("sha256")
    write_json(tmp_path / "net.pth.json", {**described, **change}, sealed=True)
    with pytest.raises(LpcamError, match=r"net\.pth\.json is damaged .*: add --overwrite"):
        train(source, tmp_path / "net.pth")


def test_an_unfinished_training_of_another_seed_is_refused_too(source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(source, tmp_path / "net.pth", progress=interrupting(3))
    with pytest.raises(LpcamError, match=r"unfinished belongs to a training.*--overwrite"):
        train(source, tmp_path / "net.pth", seed=9)
    (tmp_path / "net.pth.unfinished").write_bytes(b"half")
    with pytest.raises(LpcamError, match="--overwrite"):
        train(source, tmp_path / "net.pth")
    assert train(source, tmp_path / "net.pth", overwrite=True).first_step == 0


def test_a_loss_that_is_not_finite_says_where_and_keeps_the_last_good_state(source, tmp_path, monkeypatch):
    original = F.multilabel_soft_margin_loss
    calls = []

    def bad(logits, targets):
        calls.append(1)
        return original(logits, targets) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(F, "multilabel_soft_margin_loss", bad)
    with pytest.raises(LpcamError, match=r"not finite at step 4 of 4 \(epoch 2\).*unfinished keeps.*--lr below 0.5"):
        train(source, tmp_path / "net.pth")
    assert Progressed.load(tmp_path / "net.pth.unfinished").step == 2
    assert not (tmp_path / "net.pth").exists()


def test_weights_that_are_not_finite_are_never_saved(source, tmp_path, monkeypatch):
    def spoil(self):
        for group in self.param_groups:
            group["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.SGD, "step", spoil)
    with pytest.raises(LpcamError, match="not finite"):
        train(source, tmp_path / "net.pth", recipe=replace(QUICK, epochs=1, batch_size=10))
    assert not list(tmp_path.glob("net*"))


def test_what_cannot_be_trained_is_said_in_one_line(source, tmp_path):
    (source.root / "none.csv").write_text("name,classes\n" + "".join(f"p{index},\n" for index in range(10)))
    few = replace(QUICK, batch_size=11)
    cases = (
        (replace(source, labels=source.root / "none.csv"), {}, "no photo with an image-level label.*--labels"),
        (source, {"recipe": few}, "10 photos, fewer than a batch of 11.*--batch-size"),
        (source, {"workers": -1}, "workers is -1: choose"),
        (source, {"weights": tmp_path / "no.pth"}, "does not exist"),
        (source, {"stride": 7}, "--stride"),
    )
    for data, options, message in cases:
        with pytest.raises(LpcamError, match=message):
            train(data, tmp_path / "net.pth", **options)
    with pytest.raises(LpcamError, match=r"let --out end in \.pth"):
        train(source, tmp_path / "net.bin")
    (source.root / "p3.png").write_bytes(b"broken")
    with pytest.raises(LpcamError, match=r"p3\.png.*replace the file"):
        train(source, tmp_path / "net.pth", workers=2)


def test_a_class_without_a_photo_is_a_notice(source, tmp_path):
    assert train(source, tmp_path / "net.pth").notices[-1].endswith("no photo, nothing is learnt of it: grey")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"epochs": 0}, {"batch_size": 0}, {"crop": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"head_lr_factor": -1.0}),
        *({"weight_decay": -0.1}, {"momentum": 1.0}, {"resize": (1.2, 0.8)}),
    ],
)
def test_recipes_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(LpcamError, match="choose"):
        Recipe(**wrong)


def test_progress_counts_steps_and_the_report_can_be_printed(source, tmp_path):
    calls = []
    report = train(source, tmp_path / "net.pth", val_split=source.split, progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "train"] == [("train", done, 4) for done in range(5)]
    assert ("validate", 10, 10) in calls
    value = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert value["images"] == 16
    assert value["images_per_second"] == pytest.approx(16 / value["seconds"])
    assert value["map"] == value["map_per_epoch"][1] <= 1
    assert len(value["loss"]) == 2


def test_map_is_the_mean_over_classes_that_occur_by_hand():
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]])
    scores = torch.tensor([[4.0, 1, 9], [3, 4, 9], [2, 3, 9], [1, 2, 9]])
    # class 0: found first and third, (1/1 + 2/3) / 2; class 1: first; class 2 does not occur
    assert mean_average_precision(scores, targets) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert mean_average_precision(scores, torch.zeros(4, 3)) is None


def test_labels_by_hand(source):
    assert label_matrix(source.open())[:2].tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("arch", ["torchvision/mobilenet_v2", "torchvision/densenet121", "torchvision/regnet_x_400mf"])
def test_the_first_weights_are_the_architectures_own_and_follow_the_seed(arch):
    one, same, other = (load_trunk(arch, None, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.isfinite(tensor.float()).all() for tensor in one.values())


def test_a_trunk_without_weights_can_be_sent_a_checkpoint_without_a_head(tmp_path):
    trunk = load_trunk("tiny", None, seed=3)
    state = trunk.checkpoint(torch.ones(3, trunk.channels))
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("fc.")}, tmp_path / "t.pth")
    again = load_trunk("tiny", tmp_path / "t.pth")
    assert isinstance(again._blueprint[0], Blueprint)
    assert torch.equal(again.state_dict()["stages.0.weight"], trunk.state_dict()["stages.0.weight"])
