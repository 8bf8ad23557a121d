"""methods.pacam: by hand, by law, against the transcription."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from lpcam.methods.pacam import Awareness, Pacam, instance_prototypes, positiveness, prototype_aware
from lpcam.records import ViewFeatures
from tests.reference import cpal as reference
from tests.reference import sipe

METRICS = ("dot", "euclidean", "cosine", "learned")
CHANNELS = 6


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return numbers of both signs in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_maps(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return maps in 0..1, zero at about half of the positions, with one maximum."""
    return random(*shape, seed=seed).clamp_min(0) / 5


PROJECTION = random(3, CHANNELS, seed=7)


def context_of(*counts: int) -> list[torch.Tensor]:
    """Return context prototypes of some classes."""
    return [random(count, CHANNELS, seed=20 + k) for k, count in enumerate(counts)]


# ------------------------------------------------------------------------------------------- by hand


def test_instance_prototype_by_hand():
    features = torch.tensor([[2.0, 4], [8, 100]]).view(1, 2, 2)
    maps = torch.tensor([[0.5, 1, 0, 0.25], [0.1, 0.25, 0.05, 0.2], [0, 0, 0.2, 0], [0, 0, 0, 0]]).view(4, 2, 2)
    # > .25: positions 0 and 1 · nothing above .25: the maximum, position 1 · likewise position 2 · nothing at all
    assert instance_prototypes(features, maps, 0.25).flatten().tolist() == [3, 4, 8, 0]


ROOT = 2.0  # √C of four channels
LN4 = math.log(4)
NEAR = 1 - LN4 / 10


@pytest.mark.parametrize(
    ("metric", "instance", "context"),
    [
        # scores ln 4, 0 and −9: softmax of the first two is 4 : 1
        ("dot", [2, 0, 0, 0], [[ROOT * LN4 / 2, 5, 0, 0], [0, 7, 0, 0], [-9, 0, 0, 0]]),
        # squared distances 0, 2√C ln 4, and far
        ("euclidean", [1, 2, 3, 0], [[1, 2, 3, 0], [1, 2, 3, math.sqrt(2 * ROOT * LN4)], [9, 9, 9, 9]]),
        # cosines 1, 1 − .1 ln 4, and −1
        ("cosine", [3, 0, 0, 0], [[8, 0, 0, 0], [NEAR, math.sqrt(1 - NEAR**2), 0, 0], [-1, 0, 0, 0]]),
        # W sees the second channel twice: products 4·½·ln 4, 0, −8
        ("learned", [9, 1, 0, 0], [[9, math.sqrt(4) * LN4 / 4, 0, 0], [99, 0, 0, 0], [0, -2, 0, 0]]),
    ],
)  # fmt: skip
def test_positiveness_by_hand(metric, instance, context):
    projection = torch.zeros(4, 4)
    projection[0, 1] = projection[1, 1] = math.sqrt(2)  # d = 4, so √d = 2
    found = positiveness(
        torch.tensor(instance, dtype=torch.float32), torch.tensor(context), Awareness(metric=metric, top=2), projection
    )
    assert found.tolist() == pytest.approx([0.8, 0.2, 0], abs=1e-6)


def test_shift_and_map_by_hand():
    # p = (2, 0) under the map, top left alone. w = ½ ½ by symmetry, δ = ½ (4,4) + ½ (4,−4) − (2,0) = (2, 0)
    features = torch.tensor([[2.0, -1, 0, 0], [0, 0, 1, -1]]).view(2, 2, 2)
    maps = torch.tensor([[1.0, 0, 0.1, 0.05]]).view(1, 2, 2)
    context = [torch.tensor([[4.0, 4], [4, -4]])]
    half = 0.5**0.5
    # Σ w ĉ = (1/√2, 0): the map is f'_x / |f'| / √2. f' = (4,0) · (−1,0) · (.2,1) · (.1,−1)
    expected = [half, 0, half * 0.2 / math.sqrt(1.04), half * 0.1 / math.sqrt(1.01)]
    assert prototype_aware(features, maps, context, Awareness()).flatten().tolist() == pytest.approx(expected, abs=1e-6)
    still = prototype_aware(features, maps, context, Awareness(alignment=False))
    assert still.flatten().tolist() == pytest.approx([half, 0, 0, 0], abs=1e-6)
    # without a bank the prototype is p: the cosine to (2, 0), and nothing moves
    alone = prototype_aware(features, maps, context, Awareness(bank=False))
    assert alone.flatten().tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)


def test_without_positiveness_all_count_the_same():
    context = torch.tensor([[100.0, 0], [0, 1], [0, 2], [0, 3]])
    found = positiveness(torch.tensor([9.0, 0]), context, Awareness(positiveness=False, top=1))
    assert found.tolist() == [0.25] * 4


# -------------------------------------------------------------------------------------------- by law


@pytest.mark.parametrize(("metric", "count", "top"), list(product(METRICS, (1, 5, 30), (1, 4, 20))))
def test_positiveness_sums_to_one_over_the_top(metric, count, top):
    instance, context = random(CHANNELS), random(count, CHANNELS, seed=1)
    found = positiveness(instance, context, Awareness(metric=metric, top=top), PROJECTION)
    assert float(found.sum()) == pytest.approx(1)
    assert int((found > 0).sum()) == min(top, count)
    scores = [reference.score(instance.numpy(), c.numpy(), metric, PROJECTION.numpy()) for c in context]
    nearest = sorted(range(count), key=lambda i: -scores[i])[:top]
    assert set(found.nonzero().flatten().tolist()) == set(nearest)


@pytest.mark.parametrize("metric", METRICS)
def test_large_features_overflow_nothing(metric):
    features, maps, context = 1e4 * random(CHANNELS, 3, 4), random_maps(1, 3, 4), [1e4 * context_of(9)[0]]
    found = prototype_aware(features.float(), maps.float(), [context[0].float()], Awareness(metric), PROJECTION.float())
    assert torch.isfinite(found).all()
    assert found.max() <= 1 + 1e-5


def test_one_class_moves_no_other():
    features, maps = random(CHANNELS, 4, 5), random_maps(3, 4, 5)
    context = context_of(4, 9, 2)
    before = prototype_aware(features, maps, context, Awareness())
    other_maps = torch.stack([maps[0], random_maps(4, 5, seed=9), maps[2]])
    after = prototype_aware(features, other_maps, [context[0], 5 * random(3, CHANNELS), context[2]], Awareness())
    assert torch.allclose(after[[0, 2]], before[[0, 2]], rtol=0, atol=1e-12)
    assert not torch.allclose(after[1], before[1], atol=1e-3)
    alone = prototype_aware(features, maps[2:], context[2:], Awareness())
    assert torch.allclose(alone, before[2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_context_prototypes_does_not_matter(metric):
    features, maps, (context,) = random(CHANNELS, 4, 5), random_maps(1, 4, 5), context_of(30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    awareness = Awareness(metric, top=4)
    weights = positiveness(features[:, 0, 0], context, awareness, PROJECTION)
    assert torch.allclose(positiveness(features[:, 0, 0], context[order], awareness, PROJECTION), weights[order])
    found = prototype_aware(features, maps, [context[order]], awareness, PROJECTION)
    assert torch.allclose(found, prototype_aware(features, maps, [context], awareness, PROJECTION))


def test_copies_of_the_whole_context_change_nothing():
    features, maps, (context,) = random(CHANNELS, 4, 5), random_maps(1, 4, 5), context_of(7)
    found = prototype_aware(features, maps, [context.repeat(2, 1)], Awareness())
    assert torch.allclose(found, prototype_aware(features, maps, [context], Awareness()))


def test_moving_positions_moves_the_map_with_them():
    features, maps, context = random(CHANNELS, 3, 4), random_maps(1, 3, 4), context_of(7)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    moved = [value.flatten(1)[:, order].view_as(value) for value in (features, maps)]
    expected = prototype_aware(features, maps, context, Awareness()).flatten(1)[:, order]
    assert torch.allclose(prototype_aware(*moved, context, Awareness()).flatten(1), expected)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_scaling_features_and_context_changes_no_cosine_map(metric):
    features, maps, (context,) = random(CHANNELS, 4, 5), random_maps(1, 4, 5), context_of(7)
    awareness = Awareness(metric, positiveness=metric == "cosine")  # a dot product would be another weighing
    expected = prototype_aware(features, maps, [context], awareness)
    assert torch.allclose(prototype_aware(100 * features, maps, [100 * context], awareness), expected)
    twice = torch.cat([features, -3 * features]), maps, [torch.cat([context, -3 * context], dim=1)]
    assert torch.allclose(prototype_aware(*twice, awareness), expected)


def test_where_the_map_is_zero_nothing_moves():
    features, maps, context = random(CHANNELS, 4, 5), random_maps(1, 4, 5), context_of(7)
    moved = prototype_aware(features, maps, context, Awareness())
    still = prototype_aware(features, maps, context, Awareness(alignment=False))
    outside = maps == 0
    assert torch.allclose(moved[outside], still[outside])
    assert not torch.allclose(moved[~outside], still[~outside], atol=1e-3)


def test_the_instance_arrives_at_its_neighbours():
    instance, (context,) = random(CHANNELS), context_of(7)
    weights = positiveness(instance, context, Awareness())
    (value,) = prototype_aware(instance.view(-1, 1, 1), torch.ones(1, 1, 1).double(), [context], Awareness()).flatten()
    arrived = (weights[:, None] * context).sum(dim=0)
    cosines = torch.nn.functional.cosine_similarity(arrived[None], context)
    assert float(value) == pytest.approx(max(0.0, float(weights @ cosines)))


@pytest.mark.parametrize("bank", [True, False])
@pytest.mark.parametrize("features", [torch.zeros(CHANNELS, 2, 3), torch.ones(CHANNELS, 2, 3)])
@pytest.mark.parametrize("maps", [torch.zeros(1, 2, 3), torch.ones(1, 2, 3)])
def test_constant_features_and_maps_have_finite_results(features, maps, bank):
    context = [random(3, CHANNELS).abs().float()]
    found = prototype_aware(features, maps, context, Awareness(bank=bank))
    assert torch.isfinite(found).all()
    assert (found == found[0, 0, 0]).all()
    assert 0 <= found[0, 0, 0] <= 1 + 1e-6


def moved_to(rest: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Return an instance and a second position with f' = ``rest`` [C], their map, and three context prototypes."""
    instance, context = random(len(rest), seed=seed), random(3, len(rest), seed=50 + seed)
    shift = context.mean(dim=0) - instance
    features = torch.stack([instance, rest - 0.05 * shift], dim=1).view(-1, 1, 2)
    return features, torch.tensor([[[1.0, 0.05]]], dtype=torch.float64), [context]


def test_a_feature_that_moves_to_nothing_has_no_direction():
    for seed in range(20):
        features, maps, (context,) = moved_to(torch.zeros(64), seed)
        found = prototype_aware(features.float(), maps.float(), [context.float()], Awareness(positiveness=False))
        assert found[0, 0, 1] < 1e-2


def test_a_feature_of_which_little_is_left_keeps_its_direction():
    for seed in range(20):
        features, maps, context = moved_to(0.002 * random(64, seed=90 + seed), seed)
        found = prototype_aware(features, maps, context, Awareness(positiveness=False))
        expected = reference.pacam(features.numpy(), maps[0].numpy(), list(context[0].numpy()), weighed=False)
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


def test_no_rounding_lifts_a_map_above_one():
    for seed in range(20):
        (context,) = context_of(1)
        features = context.float() * torch.rand(50, 1) * 3
        assert (
            prototype_aware(
                features.T.view(CHANNELS, 5, 10), torch.zeros(1, 5, 10), [context.float()], Awareness()
            ).max()
            <= 1
        ), seed


def test_no_class_has_no_map():
    assert prototype_aware(random(CHANNELS, 2, 3), torch.zeros(0, 2, 3), [], Awareness()).shape == (0, 2, 3)
    seen = ViewFeatures(random(2, CHANNELS, 2, 3))
    assert Pacam(random(3, CHANNELS), tuple(context_of(1, 2, 3))).view_maps(seen, ()).shape == (0, 2, 3)


def test_a_class_without_context_stands_for_itself():
    features, maps, context = random(CHANNELS, 4, 5), random_maps(2, 4, 5), context_of(0, 3)
    found = prototype_aware(features, maps, context, Awareness())
    alone = prototype_aware(features, maps, context, Awareness(bank=False))
    assert torch.equal(found[0], alone[0])
    assert not torch.allclose(found[1], alone[1], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"metric": "dots"}, "'dots'"), ({"top": 0}, "got 0"), ({"tau": 1.0}, "and 1.0"), ({"tau": -0.1}, "and -0.1")],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Awareness(**options)


def test_a_learned_metric_wants_its_matrix():
    with pytest.raises(ValueError, match="projection"):
        positiveness(random(CHANNELS), random(3, CHANNELS), Awareness("learned"))


def test_only_the_learned_metric_learns():
    projection = PROJECTION.clone().requires_grad_()
    given = random(CHANNELS, 4, 5), random_maps(1, 4, 5), context_of(9)
    prototype_aware(*given, Awareness("learned", top=5), projection).sum().backward()
    assert torch.isfinite(projection.grad).all()
    assert projection.grad.abs().sum() > 0
    assert not prototype_aware(*given, Awareness("dot"), projection).requires_grad


# ----------------------------------------------------------------------------------------- by oracle


@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (1, 4)])
@pytest.mark.parametrize("classes", [1, 3])
def test_instance_prototypes_equal_the_transcription(shape, classes):
    features = random(CHANNELS, *shape)
    for maps in (random_maps(classes, *shape), 0.09 * random_maps(classes, *shape), torch.zeros(classes, *shape)):
        found = instance_prototypes(features, maps.double(), 0.1)
        for k in range(classes):
            expected = reference.instance_prototype(features.numpy(), maps[k].numpy(), 0.1)
            np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("count", "top"), [(1, 20), (9, 4), (9, 20), (30, 20)])
def test_positiveness_equals_the_transcription(metric, count, top):
    instance, context = 2 * random(CHANNELS), 2 * random(count, CHANNELS, seed=1)
    expected = reference.positiveness(instance.numpy(), list(context.numpy()), metric, top, PROJECTION.numpy())
    found = positiveness(instance, context, Awareness(metric, top=top), PROJECTION)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


OPTIONS = [
    *({"metric": metric} for metric in METRICS),
    *({"bank": bank, "alignment": alignment, "positiveness": weighed} for bank, alignment, weighed in
      product((True, False), repeat=3)),
    {"top": 2, "tau": 0.5},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("shape", "counts"), [((4, 5), (30, 1, 5)), ((1, 1), (3,)), ((1, 3), (21, 2))])
def test_maps_equal_the_transcription(options, shape, counts):
    features, maps = random(CHANNELS, *shape), random_maps(len(counts), *shape)
    context = context_of(*counts)
    found = prototype_aware(features, maps, context, Awareness(**options), PROJECTION)
    named = {("weighed" if name == "positiveness" else name): value for name, value in options.items()}
    for k, centres in enumerate(context):
        expected = reference.pacam(
            features.numpy(), maps[k].numpy(), list(centres.numpy()), projection=PROJECTION.numpy(), **named
        )
        np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-5)


def test_the_method_averages_image_and_mirror_and_equals_the_transcription():
    last, weights, context = random(2, CHANNELS, 4, 5), random(3, CHANNELS, seed=1), context_of(4, 9, 2)
    found = Pacam(weights, tuple(context)).view_maps(ViewFeatures(last), (2, 0))
    both = ((last[0] + last[1].flip(-1)) / 2).numpy()
    added = [torch.einsum("kc,chw->khw", weights, view).clamp_min(0).numpy() for view in last]
    maps = sipe.normalised(added[0] + added[1][:, :, ::-1])  # CAM adds the maps of image and mirror after the ReLU
    for place, label in enumerate((2, 0)):
        expected = reference.pacam(both, maps[label], list(context[label].numpy()))
        np.testing.assert_allclose(found[place], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"metric": "learned", "top": 2}, {"alignment": False}])
def test_the_method_of_faint_maps_without_a_mirror_equals_the_transcription(options):
    last, weights, context = random(1, CHANNELS, 4, 5), 1e-5 * random(3, CHANNELS, seed=1), context_of(4, 9, 2)
    method = Pacam(weights, tuple(context), Awareness(**options), PROJECTION)
    found = method.view_maps(ViewFeatures(last), (1,))
    maps = sipe.normalised(torch.einsum("kc,chw->khw", weights, last[0]).numpy())
    assert 0.1 < maps[1].max() < 0.9
    expected = reference.pacam(
        last[0].numpy(), maps[1], list(context[1].numpy()), projection=PROJECTION.numpy(), **options
    )
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)
