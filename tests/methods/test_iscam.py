"""methods.iscam: by hand, by law, against the transcription, and the golden values of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from lpcam.methods import iscam
from lpcam.methods.cam import Cam
from lpcam.methods.iscam import (
    IsCam,
    consistency,
    general_maps,
    hierarchy,
    image_prototypes,
    image_specific,
    seed_regions,
    structure_similarity,
    training_maps,
    with_background,
)
from lpcam.methods.lpcam import Lpcam
from lpcam.records import ViewFeatures
from tests.reference import lpcam as lpcam_reference
from tests.reference import sipe as reference

SHAPES = ((6, 4, 5, 3), (3, 1, 1, 1), (1, 2, 3, 1), (5, 7, 2, 4))  # C, h, w, K


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return numbers of both signs in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_maps(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return general maps of K classes with their background: [N, K+1, h, w]."""
    return with_background(general_maps(random(*shape, seed=seed)))


def close(found: torch.Tensor, expected: np.ndarray, message: str = "") -> None:
    """Hold a tensor to a transcription."""
    np.testing.assert_allclose(found.detach().double().numpy(), expected, rtol=0, atol=1e-5, err_msg=message)


# ------------------------------------------------------------------------------------------- by hand
#
# Four positions a b / c d with f = (1,0) (0,1) / (3,4) (−1,0). Cosines: a·c .6, b·c .8, and nothing else is positive:
#
#     S = a: 1  0  .6 0   sum 1.6        M_1 = 1  .5 0 0   sum 1.5
#         b: 0  1  .8 0       1.8        M_0 = 0  .5 1 1       2.5
#         c: .6 .8 1  0       2.4
#         d: 0  0  0  1       1
#
# Σ S M_1 = 1, .5, .6+.4, 0            C_1 = 1/(1.6+1.5−1), .5/(1.8+1.5−.5), 1/(2.4+1.5−1), 0
# Σ S M_0 = .6, .5+.8, .4+1, 1         C_0 = ½ of .6/(1.6+2.5−.6), 1.3/(1.8+2.5−1.3), 1.4/(2.4+2.5−1.4), 1/(1+2.5−1)

FEATURES = torch.tensor([[1.0, 0, 3, -1], [0, 1, 4, 0]]).view(1, 2, 2, 2)
MAPS = torch.tensor([[0.0, 0.5, 1, 1], [1, 0.5, 0, 0]]).view(1, 2, 2, 2)
SIMILARITY = [[3 / 35, 13 / 60, 0.2, 0.2], [10 / 21, 5 / 28, 10 / 29, 0]]
SEEDS = [[0, 1, 0, 1], [1, 0, 1, 0]]
# P_0 = (b + d)/2 = (−.5, .5) and P_1 = (a + c)/2 = (2, 2): cosines with directions (−1,1)/√2 and (1,1)/√2
SPECIFIC = [[0, 0.5**0.5, 0.2 * 0.5**0.5, 0.5**0.5], [0.5**0.5, 0.5**0.5, 1.4 * 0.5**0.5, 0]]


def test_structure_similarity_by_hand():
    found = structure_similarity(FEATURES, MAPS)
    assert found.flatten(2)[0].tolist() == [pytest.approx(row) for row in SIMILARITY]
    unweighted = structure_similarity(FEATURES, MAPS, background_weight=1)
    assert unweighted[0, 0].flatten().tolist() == pytest.approx([2 * value for value in SIMILARITY[0]])


def test_seeds_prototypes_and_maps_by_hand():
    seeds = seed_regions(torch.tensor(SIMILARITY).view(1, 2, 2, 2), torch.tensor([[True]]))
    assert seeds.flatten(2)[0].tolist() == SEEDS
    prototypes = image_prototypes(FEATURES, seeds)
    assert prototypes.tolist() == [[[-0.5, 0.5], [2, 2]]]
    assert image_specific(FEATURES, prototypes).flatten(2)[0].tolist() == [pytest.approx(row) for row in SPECIFIC]


def test_consistency_by_hand():
    general = torch.tensor([0.0, 1, 1, 0.5]).view(1, 2, 1, 2)
    specific = torch.tensor([0.2, 0.1, 0, 0]).view(1, 2, 1, 2)  # over their maxima: 1 ½, 0 0
    assert float(consistency(general, specific)) == pytest.approx((1 + 0.5 + 1 + 0.5) / 4, abs=1e-4)


def test_a_level_has_length_one_on_the_grid_of_the_last():
    fine = torch.tensor([[3.0, 0], [4, 2]]).view(1, 2, 1, 2)  # lengths 5 and 2: (.6, .8) and (0, 1), their mean
    last = torch.tensor([[[[-2.0]]]])
    assert hierarchy([fine, last]).flatten().tolist() == pytest.approx([0.3, 0.9, -1], abs=1e-4)
    sides = (torch.tensor([[0.0, 1]]), torch.tensor([[0.0], [7]]))  # 4 → 1 and 2 → 1; −2 → (0, −14) → (0, −1)
    assert hierarchy([fine, last], sides).flatten().tolist() == pytest.approx([1, 0, -1], abs=1e-4)


def test_training_sees_the_background_against_all_classes_then_drops_the_absent():
    logits = torch.tensor([[4.0, -1], [1, 2]]).view(1, 2, 1, 2)  # M = 1 0, ½ 1; the image shows the second class only
    features = torch.ones(1, 3, 1, 2)
    general, _ = training_maps(logits, features, features, torch.tensor([[0.0, 1]]))
    assert general.flatten(2)[0].tolist() == [pytest.approx(row, abs=1e-4) for row in ([0, 0], [0, 0], [0.5, 1])]


# -------------------------------------------------------------------------------------------- by law


@pytest.mark.parametrize("labels", [(), (1,), (0, 2)])
def test_seeds_partition_the_grid_in_training_and_absent_classes_have_none(labels, monkeypatch):
    kept = []
    monkeypatch.setattr(iscam, "seed_regions", lambda *given: kept.append(seed_regions(*given)) or kept[-1])
    targets = torch.zeros(2, 3, dtype=torch.float64)
    targets[:, list(labels)] = 1
    features = random(2, 6, 5, 4, seed=3)
    general, _ = training_maps(random(2, 3, 5, 4), features, features, targets)
    (seeds,) = kept
    assert (seeds.sum(dim=1) == 1).all()
    absent = [1 + k for k in range(3) if k not in labels]
    assert seeds[:, absent].sum() == general[:, absent].sum() == 0
    assert general[:, [1 + k for k in labels]].sum() > 0 or not labels


def test_no_absent_class_gets_a_seed_at_inference_and_nobody_gets_its_place():
    similarity = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.1], [0.4, 0.7, 0.9]]).view(1, 3, 1, 3)
    seeds = seed_regions(similarity, torch.tensor([[True, False]]))
    assert seeds.flatten(2)[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert seed_regions(similarity, torch.tensor([[False, True]])).sum(dim=(2, 3)).tolist() == [[0, 0, 2]]


def test_an_image_of_a_batch_has_its_own_labels_structure_and_prototypes():
    features, maps = random(3, 6, 4, 5), random_maps(3, 2, 4, 5)
    present = torch.tensor([[True, False], [False, True], [False, False]])
    together = structure_similarity(features, maps)
    seeds = seed_regions(together, present)
    for n in range(3):
        one = slice(n, n + 1)
        alone = structure_similarity(features[one], maps[one])
        assert torch.allclose(together[one], alone)
        assert torch.equal(seeds[one], seed_regions(alone, present[one]))
        assert torch.allclose(image_prototypes(features, seeds)[one], image_prototypes(features[one], seeds[one]))


def test_moving_positions_moves_the_result_with_them():
    features, maps = random(1, 6, 3, 4), random_maps(1, 2, 3, 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    moved = [value.flatten(2)[..., order].view_as(value) for value in (features, maps)]
    expected = structure_similarity(features, maps).flatten(2)[..., order]
    assert torch.allclose(structure_similarity(*moved).flatten(2), expected)


@pytest.mark.parametrize("block", [1, 2, 5, 11, 12, 13])
def test_blocks_change_nothing(block):
    features, maps = random(2, 6, 3, 4), random_maps(2, 2, 3, 4)
    assert torch.allclose(structure_similarity(features, maps, block=block), structure_similarity(features, maps))
    method = IsCam(Cam(random(3, 6)), block=block)
    seen = ViewFeatures(random(2, 6, 3, 4), (random(2, 6, 3, 4),))
    assert torch.allclose(method.view_maps(seen, (1,)), IsCam(Cam(random(3, 6))).view_maps(seen, (1,)))


class Memory(TorchDispatchMode):
    """The most bytes that results of operations held at once, and the largest of them."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.largest = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run an operation and add up what lives after it."""
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._alive[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
                self.largest = max(self.largest, storage.nbytes())
        self._alive = {at: (weak, size) for at, (weak, size) in self._alive.items() if not weak.expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def memory_of(call) -> Memory:
    """Return what a call holds."""
    with torch.no_grad(), Memory() as memory:
        call()
    return memory


def test_memory_is_bounded_by_the_block():
    features, maps = torch.rand(1, 2, 24, 24), torch.rand(1, 2, 24, 24)
    positions, block = 24 * 24, 8
    stripe = 4 * block * positions
    assert memory_of(lambda: features.flatten(2).mT @ features.flatten(2)).largest == 4 * positions**2
    blocked = memory_of(lambda: structure_similarity(features, maps, block=block))
    assert blocked.largest <= stripe
    assert blocked.peak <= 3 * stripe + 20 * (features.nbytes + maps.nbytes)
    assert blocked.peak < 4 * positions**2 / 8
    method, seen = IsCam(Cam(torch.rand(1, 2)), block=block), ViewFeatures(features, (features,))
    assert memory_of(lambda: method.view_maps(seen, (0,))).peak <= 3 * stripe + 20 * (features.nbytes + maps.nbytes)


def test_only_directions_of_features_count():
    features, maps = random(1, 6, 4, 5), random_maps(1, 2, 4, 5)
    expected = structure_similarity(features, maps)
    lengths = torch.rand(1, 1, 4, 5, dtype=torch.float64) * 100 + 0.1
    assert torch.allclose(structure_similarity(features * lengths, maps), expected)
    assert torch.allclose(structure_similarity(torch.cat([features, -7 * features], dim=1), maps), expected)
    vectors = random(1, 3, 6)
    maps = image_specific(features, vectors)
    assert torch.allclose(image_specific(features * lengths, 9 * vectors), maps)
    both = torch.cat([features, 3 * features], dim=1), torch.cat([vectors, 3 * vectors], dim=2)
    assert torch.allclose(image_specific(*both), maps)


def test_scaling_a_network_changes_no_map():
    levels = (random(2, 3, 8, 10), random(2, 6, 4, 5, seed=1))
    method = IsCam(Cam(random(3, 6, seed=2)))
    expected = method.view_maps(ViewFeatures(levels[1], levels), (0, 2))
    found = method.view_maps(ViewFeatures(1000 * levels[1], (50 * levels[0], 1000 * levels[1])), (0, 2))
    assert (found - expected).abs().max() < 1e-3  # the epsilons weigh less


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_image_has_finite_maps(value):
    features = torch.full((2, 4, 3, 5), value)
    method = IsCam(Cam(torch.tensor([[1.0, 1, 1, 1], [-1, 0, 0, 0]])))
    found = method.view_maps(ViewFeatures(features, (features, features)), (0, 1))
    assert torch.isfinite(found).all()
    # everywhere M_1 = 1: C_1 = 1 and the seed is the whole image, whose prototype is every feature's direction
    assert found.flatten(1).tolist() == [pytest.approx([value] * 15), [0] * 15]
    general, specific = training_maps(features[:, :2], features, features, torch.ones(2, 2))
    assert torch.isfinite(consistency(general, specific))


def test_nothing_resembles_nothing():
    maps = torch.tensor([[1.0, 1], [0, 0]]).view(1, 2, 1, 2)
    found = structure_similarity(torch.tensor([[[[0.0, 1]]]]), maps)  # the first position has no feature
    assert found.flatten(2)[0].tolist() == [[0, 0.25], [0, 0]]


def test_classes_without_seed_or_label_have_empty_maps():
    prototypes = image_prototypes(random(1, 6, 2, 3), torch.zeros(1, 3, 2, 3, dtype=torch.float64))
    assert prototypes.abs().sum() == 0
    assert image_specific(random(1, 6, 2, 3), prototypes).abs().sum() == 0
    seen = ViewFeatures(random(2, 6, 2, 3), (random(2, 6, 2, 3),))
    assert IsCam(Cam(random(3, 6))).view_maps(seen, ()).shape == (0, 2, 3)


def test_maps_come_in_the_order_asked():
    seen = ViewFeatures(random(2, 6, 4, 5), (random(2, 6, 4, 5),))
    method = IsCam(Cam(random(3, 6)))
    maps = method.view_maps(seen, (0, 2))
    assert torch.equal(method.view_maps(seen, (2, 0)), maps.flip(0))
    assert maps.amax(dim=(1, 2)).min() > 0


def test_only_logits_and_hierarchical_features_learn():
    given = [random(2, 3, 4, 5), random(2, 6, 4, 5, seed=1), random(2, 7, 4, 5, seed=2)]
    logits, features, hierarchical = (value.requires_grad_() for value in given)
    loss = consistency(*training_maps(logits, features, hierarchical, torch.ones(2, 3, dtype=torch.float64)))
    loss.backward()
    assert features.grad is None
    for value in (logits, hierarchical):
        assert torch.isfinite(value.grad).all()
        assert value.grad.abs().sum() > 0


# ----------------------------------------------------------------------------------------- by oracle


@pytest.mark.parametrize(("channels", "height", "width", "classes"), SHAPES)
def test_every_step_equals_the_transcription(channels, height, width, classes):
    features, maps = random(1, channels, height, width), random_maps(1, classes, height, width)
    similarity = structure_similarity(features, maps)
    close(similarity[0], reference.structure_similarity(features[0].numpy(), maps[0].numpy()))
    labels = list(range(0, classes, 2))
    present = torch.tensor([[k in labels for k in range(classes)]])
    seeds = seed_regions(similarity, present)
    close(seeds[0], reference.seed_regions(similarity[0].numpy(), labels))
    prototypes = image_prototypes(features, seeds)
    close(prototypes[0], reference.prototypes(features[0].numpy(), seeds[0].numpy()))
    close(
        image_specific(features, prototypes)[0],
        reference.image_specific(features[0].numpy(), prototypes[0].numpy()),
    )


@pytest.mark.parametrize("sides", [False, True])
def test_hierarchy_equals_the_transcription(sides):
    levels = [random(1, c, *grid, seed=c) for c, grid in ((2, (9, 14)), (3, (5, 7)), (4, (3, 4)), (5, (3, 4)))]
    through = tuple(random(2 + i, level.shape[1], seed=9 + i) for i, level in enumerate(levels)) if sides else ()
    expected = reference.hierarchy([level[0].numpy() for level in levels], [side.numpy() for side in through])
    close(hierarchy(levels, through)[0], expected)
    assert expected.shape == ((2 + 3 + 4 + 5) if sides else 14, 3, 4)


@pytest.mark.parametrize("labels", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("count", [1, 3])
def test_training_equals_the_transcription(labels, count):
    logits, features = random(count, 3, 4, 3), random(count, 5, 4, 3, seed=1)
    hierarchical, targets = random(count, 7, 4, 3, seed=2), torch.zeros(count, 3, dtype=torch.float64)
    targets[:, list(labels)] = 1
    general, specific = training_maps(logits, features, hierarchical, targets)
    expected = [
        reference.train(logits[n].numpy(), features[n].numpy(), hierarchical[n].numpy(), labels) for n in range(count)
    ]
    for n, one in enumerate(expected):
        close(general[n], one["cam"])
        close(specific[n], one["iscam"])
    loss = reference.consistency([one["cam"] for one in expected], [one["iscam"] for one in expected])
    assert float(consistency(general, specific)) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("channels", "height", "width", "classes"), SHAPES)
def test_the_method_equals_the_transcription(channels, height, width, classes):
    last, weights = random(2, channels, height, width), random(classes, channels, seed=1)
    levels = (random(2, 3, 2 * height, 2 * width, seed=2), last)
    labels = (classes - 1,)
    found = IsCam(Cam(weights)).view_maps(ViewFeatures(last, levels), labels)
    logits = torch.einsum("kc,vchw->vkhw", weights, last).numpy()
    hierarchical = np.stack([reference.hierarchy([level[v].numpy() for level in levels]) for v in range(2)])
    close(found, reference.infer(logits, hierarchical, labels)["iscam"][[1 + classes - 1]])


def test_without_a_mirror_the_image_alone_counts():
    last, weights = random(2, 5, 4, 3), random(3, 5, seed=1)
    twice = torch.stack([last[0], last[0].flip(-1)])
    method = IsCam(Cam(weights))
    expected = method.view_maps(ViewFeatures(twice, (twice,)), (1, 2))
    assert torch.allclose(method.view_maps(ViewFeatures(last[:1], (last[:1],)), (1, 2)), expected, atol=1e-4)


def test_the_general_map_may_be_lpcam():
    last = random(2, 5, 4, 3).abs()
    classes, context = random(3, 5, seed=1).abs().numpy(), random(2, 5, seed=2).abs().numpy()
    folded = torch.stack([torch.tensor(reference_fold(classes, context)), -random(5).abs()])
    found = IsCam(Lpcam(folded)).view_maps(ViewFeatures(last, (last,)), (0,))
    both = (last[0] + last[1].flip(-1)).numpy()
    logits = np.stack([lpcam_reference.localise(both, list(classes), list(context)), np.zeros((4, 3))])
    hierarchical = np.stack([reference.hierarchy([view.numpy()]) for view in last])
    nothing = np.zeros_like(logits)
    close(found, reference.infer(np.stack([logits, nothing]), hierarchical, (0,))["iscam"][[1]])
    assert logits.max() > 0.01


def reference_fold(classes: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Return LPCAM's vector of a class."""
    mean = [np.mean([vector / np.linalg.norm(vector) for vector in group], axis=0) for group in (classes, context)]
    return np.asarray(mean[0] - mean[1])


@pytest.mark.parametrize("general", [Cam, Lpcam])
def test_a_general_map_is_what_the_method_itself_shows(general):
    last, method = random(2, 5, 4, 3), general(random(3, 5, seed=1))
    alone = method.view_maps(ViewFeatures(last[:1]), (0, 1, 2))
    assert alone.amax(dim=(1, 2)).min() > 0
    assert torch.allclose(method.activation(last[0]), alone)


def test_left_out_classes_win_no_position():
    last, weights = random(1, 6, 5, 5), random(4, 6, seed=1)
    seen = ViewFeatures(last, (last,))
    found = IsCam(Cam(weights), labels_only=True).view_maps(seen, (2,))
    expected = IsCam(Cam(weights[2:3])).view_maps(seen, (0,))  # as if the classifier knew no other class
    assert torch.allclose(found, expected)
    assert not torch.allclose(found, IsCam(Cam(weights)).view_maps(seen, (2,)), atol=1e-3)


# -------------------------------------------------------------------------------------------- golden


class Golden:
    """One case of the published code's own arithmetic, in float64."""

    def __init__(self, folder: Path, case: int) -> None:
        with np.load(folder / "parity/sipe.npz") as stored:
            self.values = {name[6:]: stored[name] for name in stored if name.startswith(f"case{case}_")}
        self.labels: list[int] = self.values["labels"].tolist()
        self.present = torch.zeros(1, 20, dtype=torch.bool)
        self.present[0, self.labels] = True

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name].astype(float)

    def tensor(self, name: str) -> torch.Tensor:
        """Return a stored array as it is."""
        return torch.tensor(self.values[name])


@pytest.fixture(params=(0, 1, 2))
def golden(real_data, request) -> Golden:
    """Every case in turn."""
    return Golden(real_data, request.param)


@pytest.mark.real
def test_the_transcription_of_inference_is_the_published_code(golden):
    found = reference.infer(golden["cam_logits"], golden["hierarchical"], golden.labels)
    assert golden["infer_seeds"].any()
    for name, value in found.items():
        np.testing.assert_allclose(value, golden[f"infer_{name}"][0], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.real
def test_the_transcription_of_training_is_the_published_code(golden):
    first = golden["cam_logits"][0], golden["last_stage"][0], golden["hierarchical"][0]
    found = reference.train(*first, golden.labels)
    for name, value in found.items():
        np.testing.assert_allclose(value, golden[f"train_{name}"][0], rtol=0, atol=1e-5, err_msg=name)
    assert reference.consistency([found["cam"]], [found["iscam"]]) == pytest.approx(float(golden["gsc"]), abs=1e-5)


@pytest.mark.real
def test_golden_inference(golden):
    logits, hierarchical = (
        (value[:1] + value[1:].flip(-1)) for value in map(golden.tensor, ("cam_logits", "hierarchical"))
    )
    maps = with_background(general_maps(logits))
    similarity = structure_similarity(hierarchical, maps)
    seeds = seed_regions(similarity, golden.present)
    prototypes = image_prototypes(hierarchical, seeds)
    shares = seeds.mean(dim=(2, 3))[:, :, None]  # the published sums are divided by h·w
    close(maps, golden["infer_cam"])
    close(similarity.softmax(dim=1), golden["infer_similarity_softmax"])
    close(seeds, golden["infer_seeds"])
    close(prototypes * shares, golden["infer_prototypes"])
    close(image_specific(hierarchical, prototypes), golden["infer_iscam"])


@pytest.mark.real
def test_golden_method(golden, monkeypatch):
    monkeypatch.setattr(iscam, "hierarchy", lambda levels, _sides: levels[0])  # what is stored is no level any more
    seen = ViewFeatures(golden.tensor("cam_logits"), (golden.tensor("hierarchical"),))
    found = IsCam(Cam(torch.eye(20))).view_maps(seen, golden.labels)
    close(found, golden["infer_iscam"][0, [1 + label for label in golden.labels]])


@pytest.mark.real
def test_golden_training(golden):
    first = [golden.tensor(name)[:1] for name in ("cam_logits", "last_stage", "hierarchical")]
    general, specific = training_maps(*first, golden.present.float())
    seeds = seed_regions(structure_similarity(first[1], general), golden.present)
    close(general, golden["train_cam"])
    close(seeds, golden["train_seeds"])
    close(image_prototypes(first[2], seeds) * seeds.mean(dim=(2, 3))[:, :, None], golden["train_prototypes"])
    close(specific, golden["train_iscam"])
    close(consistency(general, specific), golden["gsc"])


@pytest.mark.parametrize("sides", [(), (torch.rand(2, 3) - 0.5, torch.rand(4, 6) - 0.5)], ids=["untrained", "trained"])
def test_levels_are_left_out_from_the_first_with_their_sides(sides):
    random = torch.Generator().manual_seed(2)
    last, fine = torch.rand(2, 6, 5, 4, generator=random), torch.rand(2, 3, 9, 8, generator=random)
    general, labels = Cam(torch.randn(4, 6, generator=random)), (0, 2)
    seen = ViewFeatures(last, (fine, last))
    choice = {"background_weight": 0.0, "labels_only": True}  # so that the classes win positions
    alone = IsCam(general, sides[-1:], **choice).view_maps(ViewFeatures(last, (last,)), labels)
    assert torch.equal(IsCam(general, sides, levels=1, **choice).view_maps(seen, labels), alone)
    both = IsCam(general, sides, **choice).view_maps(seen, labels)
    assert torch.equal(IsCam(general, sides, levels=2, **choice).view_maps(seen, labels), both)
    assert not torch.allclose(alone, both)
