"""SIPE's training: the published golden values, hand-made losses, sides that learn, a checkpoint for every method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lpcam.backbones import load_classifier, load_trunk
from lpcam.methods.iscam import hierarchy
from lpcam.training import Recipe, train_sipe
from lpcam.training.learner import Start
from lpcam.training.sipe import Sipe, side_widths, sipe_losses
from tests.training.test_classifier import interrupting, write_squares

QUICK = Recipe(epochs=2, batch_size=2, lr=0.005, crop=32)


def train(data, checkpoint, out, **options):
    return train_sipe(
        data, "demo", out, **{"weights": checkpoint, "recipe": QUICK, "device": "cpu", "workers": 0, **options}
    )


def learner(checkpoint, seed=0):
    head = load_classifier("demo", checkpoint).class_weights
    return Sipe(Start(load_trunk("demo", checkpoint), 2, seed, fix_norms=True, head=head))


@pytest.mark.real
@pytest.mark.parametrize("case", range(3))
def test_the_losses_are_those_of_the_published_code(real_data, case):
    golden = np.load(real_data / "parity/sipe.npz")

    def image(name):  # the first of image and mirror
        return torch.from_numpy(golden[f"case{case}_{name}"][:1])

    targets = torch.zeros(1, 20)
    targets[0, golden[f"case{case}_labels"]] = 1
    logits = image("cam_logits")
    losses = sipe_losses(logits, image("last_stage"), image("hierarchical"), targets)
    assert float(losses["consistency"]) == pytest.approx(float(golden[f"case{case}_gsc"]), abs=1e-5)
    expected = F.multilabel_soft_margin_loss(logits.mean(dim=(2, 3)), targets)
    assert float(losses["classification"]) == pytest.approx(float(expected))


def test_the_losses_of_two_positions_by_hand():
    """One class on the left: M = (1, 0), M_0 = (0, 1), seeds left and right, IS-CAM the same, nothing to learn."""
    logits = torch.tensor([[[[2.0, -1.0]]]])
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    losses = sipe_losses(logits, features, features, torch.ones(1, 1))
    assert float(losses["consistency"]) == pytest.approx(0, abs=2e-5)
    assert float(losses["classification"]) == pytest.approx(np.log(1 + np.exp(-0.5)))
    same = torch.ones(1, 2, 1, 2)  # every position looks the same: IS-CAM is 1 wherever a class has a seed
    losses = sipe_losses(logits, features, same, torch.ones(1, 1))
    assert float(losses["consistency"]) == pytest.approx(0.5, abs=2e-5)


def test_the_sides_follow_the_published_widths_and_no_level_is_widened(checkpoint):
    assert side_widths((256, 512, 1024, 2048)) == (128, 128, 256, 256)
    assert side_widths((512,)) == (256,)
    model = learner(checkpoint)
    assert [tuple(side.weight.shape) for side in model.sides] == [(16, 16, 1, 1), (32, 32, 1, 1), (256, 512, 1, 1)]
    other = learner(checkpoint, seed=1)
    assert not torch.equal(model.sides[0].weight, other.sides[0].weight)


def test_consistency_teaches_the_sides_and_the_classifier_but_no_level_through_them(checkpoint):
    model = learner(checkpoint).train()
    images, targets = torch.rand(2, 3, 48, 48), torch.eye(2)
    levels = model.trunk.levels(images)
    logits = F.conv2d(levels[-1], model.head.weight[:, :, None, None])
    losses = model.losses(images, targets)
    hierarchical = hierarchy(levels, [side.weight.flatten(1) for side in model.sides])
    expected = sipe_losses(logits, levels[-1], hierarchical, targets)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {name: loss.item() for name, loss in expected.items()}
    )
    own, through = (
        torch.autograd.grad(found["consistency"], model.trunk.stages[0][0].weight)[0] for found in (losses, expected)
    )
    assert own.norm() > 0
    assert not torch.allclose(own, through)
    model.losses(images, targets)["consistency"].backward()
    assert all(side.weight.grad.norm() > 0 for side in model.sides)
    assert model.head.weight.grad.norm() > 0


def test_both_losses_fall_from_nothing(tmp_path):
    source, recipe = write_squares(tmp_path / "data", 10), Recipe(epochs=10, batch_size=5, lr=0.2, crop=32)
    report = train_sipe(source, "demo", tmp_path / "x.pth", weights=None, recipe=recipe, device="cpu", workers=0)
    assert list(report.losses) == ["classification", "consistency"]
    for losses in report.losses.values():
        assert losses[-1] < 0.6 * losses[0]
    assert report.loss[0] == pytest.approx(sum(losses[0] for losses in report.losses.values()))


def test_the_checkpoint_holds_the_kept_head_and_the_sides(data, checkpoint, tmp_path):
    report = train(data, checkpoint, tmp_path / "sipe.pth")
    assert f"the class weights of {checkpoint} are kept and go on learning" in report.notices
    model = load_classifier("demo", tmp_path / "sipe.pth", num_classes=2)
    assert [tuple(side.shape) for side in model.extras.sides] == [(16, 16), (32, 32), (256, 512)]
    start = load_classifier("demo", checkpoint)
    moved = (model.class_weights - start.class_weights).norm() / start.class_weights.norm()
    assert 0 < moved < 0.2


def test_class_weights_of_other_classes_are_not_kept(data, checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "fc.weight": torch.rand(3, 512)}, tmp_path / "three.pth")
    report = train(data, tmp_path / "three.pth", tmp_path / "sipe.pth", recipe=replace(QUICK, epochs=1))
    assert not any("kept" in notice for notice in report.notices)
    assert load_classifier("demo", tmp_path / "sipe.pth").num_classes == 2


def test_interrupted_and_gone_on_with_ends_in_the_same_bytes(data, checkpoint, tmp_path):
    straight = train(data, checkpoint, tmp_path / "one/net.pth")
    with pytest.raises(KeyboardInterrupt):
        train(data, checkpoint, tmp_path / "two/net.pth", progress=interrupting(5))
    resumed = train(data, checkpoint, tmp_path / "two/net.pth")
    assert (resumed.first_step, resumed.losses) == (3, straight.losses)
    again = train(data, checkpoint, tmp_path / "two/net.pth")
    assert (again.images, again.losses) == (0, straight.losses)
    for name in ("net.pth", "net.pth.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
