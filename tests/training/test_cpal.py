"""CPAL's training: the bank and its bound, hand-made losses, what is taught and what is not, resuming."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lpcam.backbones import load_classifier, load_trunk
from lpcam.errors import LpcamError
from lpcam.methods.pacam import Awareness
from lpcam.support import SupportProfile
from lpcam.training import CpalRecipe, Recipe, train_cpal
from lpcam.training.cpal import Bank, Cpal
from lpcam.training.learner import Start
from tests.training.test_classifier import interrupting

QUICK = Recipe(epochs=3, batch_size=2, lr=0.005, crop=32)
SMALL = CpalRecipe(support=SupportProfile(bank=4, k=2))


def train(data, checkpoint, out, cpal=SMALL, **options):
    options = {"weights": checkpoint, "recipe": QUICK, "device": "cpu", "workers": 0, **options}
    return train_cpal(data, "demo", out, cpal=cpal, **options)


class Flat(nn.Module):
    """A trunk whose features are its images."""

    channels = 3

    def forward(self, images):
        return images


def flat(recipe, classes=2):
    """A learner whose CAM of class k is colour k of the image, made as tall as one."""
    return Cpal(Start(Flat(), classes, 0, fix_norms=False, head=torch.eye(classes, 3)), recipe)


def test_the_bank_keeps_what_came_last_and_never_more_than_its_bound():
    bank = Bank(2, SupportProfile(bank=3, k=2), 1)
    random = torch.Generator().manual_seed(0)
    expected = ([], [])
    for step in range(6):
        prototypes = 1 + torch.rand(2, 2, 1, generator=random)
        prototypes[0, 1] = 0  # a map that is zero everywhere
        present = torch.tensor([[True, True], [step % 2 == 0, True]])
        bank.add(prototypes, present)
        for image, label in ((0, 0), (1, 0), (1, 1)):
            if present[image, label]:
                expected[label].append(float(prototypes[image, label]))
        for label in range(2):
            held = bank.held(label).flatten().tolist()
            assert len(held) <= 3
            assert sorted(held) == pytest.approx(sorted(expected[label][-3:]))


def test_context_prototypes_are_raw_means_by_hand_and_a_class_nobody_saw_has_none():
    bank = Bank(2, SupportProfile(bank=4, k=2), 2)
    bank.add(
        torch.tensor([[[2.0, 0.0]], [[4.0, 0.0]], [[0.0, 1.0]]]).expand(3, 2, 2), torch.tensor([[True, False]] * 3)
    )
    bank.cluster(seed=0)
    first, second = bank.context()
    assert sorted(first.tolist()) == [[0, 1], [3, 0]]
    assert second.shape == (0, 2)


def test_nothing_is_compared_in_the_warm_up_and_then_only_classes_that_have_a_context():
    model = flat(SMALL)
    images = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(model.losses(images, targets)["consistency"]) == 0
    assert float(model.losses(images, torch.ones(2, 2))["consistency"]) == 0
    model.bank.seen[1] = 0
    model.bank.cluster(0)
    assert model.losses(images, targets)["consistency"].item() == 0  # there is a context, and the epoch is not over
    model.bank.seen[1] = 0
    model.end_of_epoch(0)
    both, one = (model.losses(images, t)["consistency"].item() for t in (torch.ones(2, 2), targets))
    assert both == pytest.approx(one) != 0


def test_the_consistency_of_one_context_prototype_by_hand():
    """p and c are the red position: δ = 0, PACAM = ReLU(cos(f, red)) = (1, 0.6), M = (1, 0.5): the mean gap is 0.05."""
    model = flat(SMALL)
    image = torch.tensor([[[[6.0, 3.0]], [[0.0, 4.0]], [[0.0, 0.0]]]])
    model.bank.add(torch.tensor([[[6.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]), torch.tensor([[True, False]]))
    model.bank.cluster(0)
    model.warm.fill_(1)
    gap = model._consistency(image[0][None], torch.tensor([[[[1.0, 0.05]], [[0.0, 0.0]]]]), torch.tensor([[1.0, 0.0]]))
    assert float(gap) == pytest.approx((0.6 - 0.05) / 2, abs=1e-4)


@pytest.mark.parametrize("metric", ["dot", "learned"])
def test_pacam_teaches_and_is_not_taught_but_for_the_learned_metric(checkpoint, metric):
    head = load_classifier("demo", checkpoint).class_weights
    recipe = replace(SMALL, awareness=Awareness(metric=metric))
    model = Cpal(Start(load_trunk("demo", checkpoint), 2, 0, True, head), recipe).train()
    images = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        model.losses(images, torch.ones(4, 2))["consistency"].sum()
    model.end_of_epoch(0)
    features = model.trunk(images).detach().requires_grad_()
    maps = torch.rand(4, 2, 6, 6, requires_grad=True)
    gap = model._consistency(features, maps, torch.ones(4, 2))
    found = torch.autograd.grad(gap, [features, maps], allow_unused=True, retain_graph=True)
    assert found[0] is None
    torch.testing.assert_close(found[1].abs(), torch.full((4, 2, 6, 6), 1 / (4 * 2 * 36)))
    if metric == "learned":
        assert torch.autograd.grad(gap, model.projection)[0].norm() > 0


def test_it_learns_and_resumed_it_ends_in_the_same_bytes(data, checkpoint, tmp_path):
    learned = replace(SMALL, awareness=Awareness(metric="learned"))
    straight = train(data, checkpoint, tmp_path / "one/net.pth", learned, val_split="train")
    with pytest.raises(KeyboardInterrupt):
        train(data, checkpoint, tmp_path / "two/net.pth", learned, val_split="train", progress=interrupting(8))
    state = torch.load(tmp_path / "two/net.pth.unfinished", weights_only=True)["model"]
    assert state["bank.instances"].shape == (2, 4, 512)
    assert int(state["bank.seen"].sum()) > 0 < int(state["bank.made"].min())
    resumed = train(data, checkpoint, tmp_path / "two/net.pth", learned, val_split="train")
    assert (resumed.first_step, resumed.losses, resumed.miou) == (6, straight.losses, straight.miou)
    for name in ("net.pth", "net.pth.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    consistency = straight.losses["consistency"]
    assert consistency[0] == 0 < consistency[2]
    assert straight.losses["classification"][2] < straight.losses["classification"][0]
    assert load_classifier("demo", tmp_path / "one/net.pth").extras.positiveness.shape == (128, 512)


@pytest.mark.parametrize("part", ["bank", "alignment", "positiveness"])
def test_the_ablations_of_table_2_run_and_are_trainings_of_their_own(data, checkpoint, tmp_path, part):
    recipe = replace(QUICK, epochs=2)
    ablated = replace(SMALL, awareness=Awareness(**{part: False}))
    report = train(data, checkpoint, tmp_path / "net.pth", ablated, recipe=recipe)
    assert report.losses["consistency"][1] > 0
    with pytest.raises(LpcamError, match="other photos, options"):
        train(data, checkpoint, tmp_path / "net.pth", recipe=recipe)


def test_recipes_that_cannot_be_followed_are_refused():
    with pytest.raises(LpcamError, match="warm-up is 0"):
        CpalRecipe(warm_up=0)
    assert CpalRecipe(support=SupportProfile(tau=0.3)).awareness.tau == 0.3
