from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpcam.errors import LpcamError
from lpcam.evaluation import (
    Score,
    SeedScores,
    best_threshold,
    compute,
    iou,
    mean_iou,
    parse_thresholds,
    precision,
    recall,
)
from lpcam.records import ActivationMaps

THRESHOLDS = parse_thresholds("0:1:.05")
K = 5


def make_maps(labels, high_res):
    high_res = torch.as_tensor(np.asarray(high_res, dtype=np.float32))
    return ActivationMaps(tuple(labels), torch.zeros(len(labels), 1, 1), high_res)


def random_image(rng, *, levels=21, size=(13, 9), num_classes=K):
    """Maps on few levels, some of them thresholds, so that ties of every kind happen."""
    labels = np.sort(rng.choice(num_classes, size=rng.integers(0, 4), replace=False))
    high_res = (rng.integers(0, levels, size=(len(labels), *size)) / (levels - 1)).astype(np.float32)
    truth = rng.choice([*range(num_classes + 1), 255], size=size).astype(np.uint8)
    return make_maps(labels.tolist(), high_res), truth


def seeds_as_irn(maps, threshold):
    """What IRN's eval_cam does to one image at one threshold."""
    padded = np.pad(maps.high_res.numpy(), ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=threshold)
    keys = np.pad(np.asarray(maps.labels, dtype=np.int64) + 1, (1, 0), mode="constant")
    return keys[np.argmax(padded, axis=0)]


def slow_confusion(images, threshold, num_classes=K):
    confusion = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for maps, truth in images:
        seeds = seeds_as_irn(maps, threshold)
        for true, seen in zip(truth.ravel(), seeds.ravel(), strict=True):
            if true != 255:
                confusion[true, seen] += 1
    return confusion


def counted(images, thresholds=THRESHOLDS, num_classes=K):
    scores = SeedScores(num_classes, thresholds)
    for maps, truth in images:
        scores.update(maps, truth)
    return scores


def test_two_by_two_by_hand():
    # truth  cow(1) cow     maps  .9 .3
    #        dog(2) 255           .2 .9   all of cow
    maps = make_maps([0], [[[0.9, 0.3], [0.2, 0.9]]])
    truth = np.array([[1, 1], [2, 255]], dtype=np.uint8)
    curve = compute(counted([(maps, truth)], [0.1, 0.25, 0.5, 0.9], num_classes=2))
    # at .1: cow everywhere: cow 2/3, dog 0, background not seen
    assert curve.scores[0] == Score(0.1, 1 / 3, 2 / 3, 0.5, (None, 2 / 3, 0.0))
    # at .25: the dog is background: background 0/1, cow 2/2, dog 0/1
    assert curve.scores[1] == Score(0.25, 1 / 3, 0.5, 0.5, (0.0, 1.0, 0.0))
    # at .5: one cow of two
    assert curve.scores[2] == Score(0.5, 0.5 / 3, 0.5, 0.25, (0.0, 0.5, 0.0))
    # at .9: a tie goes to the background
    assert curve.scores[3] == Score(0.9, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0))
    assert curve.best == curve.scores[0]
    assert curve.images == 1


def test_every_threshold_equals_irns_pad_and_argmax():
    rng = np.random.default_rng(0)
    images = [random_image(rng) for _ in range(8)]
    confusions = counted(images).confusions()
    assert confusions.dtype == torch.int64
    assert confusions.shape == (len(THRESHOLDS), K + 1, K + 1)
    for threshold, confusion in zip(THRESHOLDS, confusions.numpy(), strict=True):
        np.testing.assert_array_equal(confusion, slow_confusion(images, threshold))


def test_thresholds_are_compared_in_float32():
    # float32(.3) > .3, so a comparison in double precision would call the pixel a cow
    maps = make_maps([0], np.full((1, 1, 1), 0.3))
    confusion = counted([(maps, np.ones((1, 1), dtype=np.uint8))], [0.3], num_classes=1).confusions()[0]
    np.testing.assert_array_equal(confusion, [[0, 0], [1, 0]])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_iou_equals_torchmetrics(seed):
    from torchmetrics.classification import MulticlassJaccardIndex  # imports half of SciPy: not in every test process

    rng = np.random.default_rng(seed)
    images = [random_image(rng) for _ in range(3)]
    threshold = 0.35
    confusion = counted(images, [threshold]).confusions()[0]
    oracle = MulticlassJaccardIndex(K + 1, ignore_index=255, average="none")
    seen = set()
    for maps, truth in images:
        seeds = seeds_as_irn(maps, threshold)
        oracle.update(torch.from_numpy(seeds), torch.from_numpy(truth.astype(np.int64)))
        seen |= set(seeds[truth != 255].tolist()) | set(truth[truth != 255].tolist())
    expected = oracle.compute().double()
    expected[[k for k in range(K + 1) if k not in seen]] = float("nan")
    torch.testing.assert_close(iou(confusion), expected, rtol=0, atol=2e-7, equal_nan=True)
    macro = MulticlassJaccardIndex(K + 1, ignore_index=255)  # leaves unseen classes out, as we do
    for maps, truth in images:
        macro.update(torch.from_numpy(seeds_as_irn(maps, threshold)), torch.from_numpy(truth.astype(np.int64)))
    assert mean_iou(confusion).item() == pytest.approx(macro.compute().item(), abs=2e-7)


def test_precision_and_recall_by_hand():
    confusion = torch.tensor([[6, 2, 0], [1, 3, 0], [1, 0, 0]])
    torch.testing.assert_close(
        precision(confusion), torch.tensor([6 / 8, 3 / 5, float("nan")]).double(), equal_nan=True
    )
    torch.testing.assert_close(recall(confusion), torch.tensor([6 / 8, 3 / 4, 0.0]).double())


def test_order_of_images_and_merging_do_not_matter():
    rng = np.random.default_rng(1)
    images = [random_image(rng) for _ in range(6)]
    whole = counted(images)
    left, right = counted(images[4:]), counted(images[:4][::-1])
    left.merge(right)
    assert torch.equal(left.confusions(), whole.confusions())
    assert left.images == whole.images == 6


def test_a_permutation_of_the_classes_permutes_the_confusion():
    rng = np.random.default_rng(2)
    images = [random_image(rng, levels=100_000) for _ in range(4)]  # no ties between classes
    order = rng.permutation(K)
    table = np.arange(256, dtype=np.uint8)
    table[1 : K + 1] = order + 1
    renamed = [(make_maps(order[list(m.labels)].tolist(), m.high_res), table[truth]) for m, truth in images]
    forward = [0, *(order + 1)]
    expected, got = counted(images).confusions(), counted(renamed).confusions()
    assert torch.equal(got[:, forward][:, :, forward], expected)


def test_counts_shrink_with_the_threshold_and_never_lose_a_pixel():
    rng = np.random.default_rng(3)
    images = [random_image(rng) for _ in range(5)]
    confusions = counted(images).confusions()
    assert (confusions[:, :, 1:].diff(dim=0) <= 0).all()
    assert set(confusions.sum(dim=(1, 2)).tolist()) == {sum(int((t != 255).sum()) for _, t in images)}


def test_a_subset_of_classes_restricts_the_mean_and_not_the_confusion():
    maps = make_maps([0, 1], [[[0.9, 0.1, 0.1, 0.0]], [[0.1, 0.9, 0.9, 0.0]]])
    truth = np.array([[1, 1, 2, 0]], dtype=np.uint8)
    scores = counted([(maps, truth)], [0.5], num_classes=3)
    whole, cows = compute(scores).best, compute(scores, classes=[0, 1]).best
    assert whole.miou == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert cows.miou == pytest.approx((1 + 1 / 2) / 2)
    assert cows.per_class == whole.per_class == (1.0, 0.5, 0.5, None)
    assert (cows.precision, cows.recall) == (1.0, 0.75)
    assert mean_iou(scores.confusions(), [0, 1]).tolist() == [0.75]


def test_an_image_without_labels_is_background_at_every_threshold():
    maps = make_maps([], np.zeros((0, 2, 3)))
    confusions = counted([(maps, np.full((2, 3), 2, dtype=np.uint8))], [-1.0, 0.0, 1.0], num_classes=2).confusions()
    assert confusions[:, 2, 0].tolist() == [6, 6, 6]
    assert confusions.sum() == 18


def test_a_read_only_mask_is_counted_without_a_warning(recwarn):
    truth = np.zeros((2, 2), dtype=np.uint8)
    truth.flags.writeable = False
    counted([(make_maps([0], np.zeros((1, 2, 2))), truth)])
    assert not recwarn.list


def test_best_is_the_first_of_equals():
    assert best_threshold([0.1, 0.4, 0.4, float("nan")]) == 1
    with pytest.raises(ValueError, match="at least one"):
        best_threshold([float("nan")])


@pytest.mark.parametrize(
    ("maps", "truth", "message"),
    [
        (
            make_maps([0], np.zeros((1, 2, 3))),
            np.zeros((3, 2), np.uint8),
            "mask of cow is 2×3 pixels .* maps are 3×2",
        ),
        (make_maps([0], np.zeros((1, 2, 2))), np.full((2, 2), 7, np.uint8), "value 7 .* 5 classes"),
        (make_maps([5], np.zeros((1, 2, 2))), np.zeros((2, 2), np.uint8), r"classes \[5\] .* has 5"),
        (make_maps([0], np.full((1, 2, 2), np.nan)), np.zeros((2, 2), np.uint8), "NaN: generate them again"),
    ],
)
def test_what_a_user_can_fix(maps, truth, message):
    scores = SeedScores(K, THRESHOLDS)
    with pytest.raises(LpcamError, match=message):
        scores.update(maps, truth, "cow")
    assert scores.images == 0
    assert scores.confusions().sum() == 0


def test_what_a_programmer_can_fix():
    with pytest.raises(ValueError, match="at least one class"):
        SeedScores(0, [0.1])
    with pytest.raises(ValueError, match="do not decrease"):
        SeedScores(2, [0.2, 0.1])
    with pytest.raises(ValueError, match="finite"):
        SeedScores(2, [float("nan")])
    with pytest.raises(ValueError, match="do not decrease"):
        SeedScores(2, [])
    with pytest.raises(LpcamError, match="254"):
        SeedScores(255, [0.1])
    scores = SeedScores(K, THRESHOLDS)
    with pytest.raises(TypeError, match="uint8"):
        scores.update(make_maps([0], np.zeros((1, 2, 2))), np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match="one map"):
        scores.update(make_maps([0, 1], np.zeros((1, 2, 2))), np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="same classes and thresholds"):
        scores.merge(SeedScores(K, [0.1]))
    with pytest.raises(ValueError, match=r"0\.\.5"):
        mean_iou(torch.zeros(K + 1, K + 1), [6])


def test_nothing_counted_is_said():
    scores = SeedScores(K, THRESHOLDS)
    with pytest.raises(LpcamError, match="no pixel to evaluate"):
        compute(scores)
    scores.update(make_maps([], np.zeros((0, 1, 1))), np.zeros((1, 1), np.uint8))
    with pytest.raises(LpcamError, match="none of these classes"):
        compute(scores, [3])


def test_parsed_thresholds_are_exact_decimals():
    hundred = parse_thresholds("0:1:.01")
    assert hundred == tuple(float(f"{i / 100:.2f}") for i in range(101))
    assert parse_thresholds("0:.25:.1") == (0.0, 0.1, 0.2)
    assert parse_thresholds(".1, .35") == (0.1, 0.35)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a number"),
        ("a:b:c", "'a' is not a number"),
        ("0:nan:.1", "'nan' is not a number"),
        ("0:1", "three numbers"),
        ("0:1:0", "step must lead"),
        ("1:0:.1", "step must lead"),
        ("0:1:.00001", "at most"),
        ("0:2:.5", "within 0 and 1"),
        (".3,.1", "rise"),
    ],
)
def test_bad_thresholds_say_what_to_write(text, why):
    with pytest.raises(LpcamError, match=f"{why}.*write start:stop:step"):
        parse_thresholds(text)


def test_a_photo_without_labels_needs_no_size():
    """Some families keep none: everything is background, as with a map of the mask's size."""
    truth = np.array([[0, 1, 255], [2, 0, 0]], dtype=np.uint8)
    curves = []
    for size in ((0, 0), (2, 3)):
        scores = SeedScores(K, THRESHOLDS)
        scores.update(ActivationMaps((), torch.zeros(0, 0, 0), torch.zeros(0, *size)), truth)
        curves.append(compute(scores))
    assert curves[0] == curves[1]
    assert curves[0].best.per_class[:3] == (3 / 5, 0.0, 0.0)
    with pytest.raises(LpcamError, match="3×2 pixels but its maps are 0×0"):
        SeedScores(K, THRESHOLDS).update(make_maps([1], np.zeros((1, 0, 0))), truth)
