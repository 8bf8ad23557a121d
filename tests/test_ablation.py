"""The ablation: counts by photo, thresholds and intervals, and a run on few photos."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import ablation, photos, plots, real_photos, record, tables
from benchmarks.by_photo import Counts, Table, count_photo, draws, interval, resampled
from lpcam.errors import LpcamError
from lpcam.evaluation import SeedScores, compute, mean_iou, parse_thresholds
from lpcam.generate import activation_maps
from lpcam.propagation import Walk
from lpcam.records import ActivationMaps
from tests.yardsticks import write_yardsticks

THRESHOLDS = (0.2, 0.5, 0.7)
POSTS = (("walk",), ("pamr",), ("walk-pamr",))
LABELS = ((1, 3), (0,), (), (2, 0))


def maps_of(labels, seed, size=(9, 11)):
    high_res = torch.rand(len(labels), *size, generator=torch.Generator().manual_seed(seed))
    return ActivationMaps(labels, high_res[:, ::4, ::4], high_res)


@pytest.fixture
def counted():
    """Four photos under two rows: their counts by photo, and those of the evaluation."""
    random, each = np.random.default_rng(0), []
    whole = {row: SeedScores(4, THRESHOLDS) for row in ("a", "b")}
    for index, labels in enumerate(LABELS):
        truth = random.choice(np.array([0, 1, 2, 4, 255], np.uint8), size=(9, 11))
        maps = {row: maps_of(labels, seed=10 * index + place) for place, row in enumerate(whole)}
        for row, scores in whole.items():
            scores.update(maps[row], truth)
        each.append(count_photo(maps, truth, [label + 1 for label in labels], THRESHOLDS))
    return Counts.joined(each), whole


def test_counts_by_photo_add_up_to_the_evaluation(counted, tmp_path):
    counts, whole = counted
    counts.save(tmp_path / "counts.safetensors")
    counts = Counts.load(tmp_path / "counts.safetensors")
    for row, scores in whole.items():
        table = counts.table(row, 4)
        expected = scores.confusions().double()
        assert torch.equal(table.hits.sum(dim=0).T, expected.diagonal(dim1=1, dim2=2))
        assert torch.equal(table.predicted.sum(dim=0).T, expected.sum(dim=1))
        assert torch.equal(table.truth.sum(dim=0), expected[0].sum(dim=1))
        for classes in ((0, 1, 2, 3, 4), (0, 3)):
            assert torch.equal(table.curve(classes), mean_iou(scores.confusions(), classes))
    alone = counts.table("b", 4)
    odd = torch.tensor([False, True, False, True])
    assert not torch.equal(alone.curve((0, 1), odd), alone.curve((0, 1)))
    assert alone.truth[2, 1:].sum() > 0  # what a photo shows counts without its label
    assert alone.predicted[2, 1:].sum() == 0


def table_of(right):
    """Return photos of one class where everything is right at one threshold each and wrong at the others."""
    hits = torch.zeros(len(right), 2, 3, dtype=torch.float64)
    hits[range(len(right)), :, right] = 10
    return Table(hits, torch.full_like(hits, 10), torch.full(hits.shape[:2], 10, dtype=torch.float64))


def test_no_photo_chooses_its_own_threshold():
    table = table_of([0, 2, 0, 2])
    assert table.thresholds((0, 1)) == (2, 0)
    assert table.at((2, 0))[0].sum() == 0
    assert table.at((0, 2))[0, :, 1].tolist() == [10] * 4
    assert table.thresholds((0, 1), table_of([1, 1])) == (1, 1)


def test_photos_are_drawn_in_pairs_and_their_scores_are_those_of_the_drawn():
    random = np.random.default_rng(1)
    truth = random.integers(1, 50, (5, 3)).astype(float)
    predicted = random.integers(1, 50, (5, 3)).astype(float)
    runs = [torch.from_numpy(np.stack([share * np.minimum(truth, predicted), predicted, truth])) for share in (0.5, 1)]
    weights = draws(5, 40, seed=3)
    assert torch.equal(weights, draws(5, 40, seed=3))
    assert weights.sum(dim=1).tolist() == [5] * 40
    assert len({tuple(row) for row in weights.tolist()}) > 20
    found = resampled(runs, weights, (0, 2))
    drawn = np.repeat(np.arange(5), weights[7].int().numpy())
    each = []
    for run in runs:
        hits, guessed, true = run.numpy()[:, drawn].sum(axis=1)[:, [0, 2]]
        each.append(np.mean(hits / (guessed + true - hits)))
    assert float(found[7]) == pytest.approx(np.mean(each))
    assert interval(found - found) == (0, 0)
    assert interval(torch.arange(101, dtype=torch.float64), 0.9) == pytest.approx((5, 95))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a dry run that has counted and not scored."""
    folder = tmp_path_factory.mktemp("kept")
    ablation.main(["--dry-run", "--out", str(folder), "--folder", str(folder), "--count", "--part", "demo"])
    assert not (folder / "ablation.json").exists()
    return folder


def test_a_run_scores_every_row_and_goes_on(kept, tmp_path, monkeypatch):
    options = ["--dry-run", "--out", str(tmp_path), "--folder", str(kept)]
    monkeypatch.setattr(ablation, "maps_of", None)  # what was counted is not counted again
    ablation.main(options)
    found = json.loads((tmp_path / "ablation.json").read_text())
    record.validate(found)
    splits = found["results"]["parts"]["demo"]["splits"]
    assert {split: of["images"] for split, of in splits.items()} == {"train": 6, "val": 2}
    assert {"cam", "cam+walk-20", "lpcam+pamr", "iscam+walk-pamr", "pacam+walk"} < set(splits["val"]["rows"])
    for key, row in splits["train"]["rows"].items():
        assert len(row["runs"]) == len(ablation.BASES[key.partition("+")[0]].seeds((0, 1)))
        low, high = row["over_plain"]["interval"]
        assert low <= high
    plain = splits["train"]["rows"][splits["train"]["plain"]]
    assert plain["miou"] == max(splits["train"]["rows"][key]["miou"] for key in ablation.PLAIN)
    assert plain["over_plain"] == {"miou": 0, "interval": [0, 0], "worst_class": {"name": "background", "iou": 0}}
    assert [check["passed"] for check in found["checks"] if check["equality"]] == [True]
    with pytest.raises(LpcamError, match="choose another --folder"):
        ablation.main([*options, "--scales", "1"])


def test_a_row_scores_as_its_maps_do(kept, monkeypatch):
    part = ablation.ALL_PARTS["demo"](ablation.DRY, kept / "demo")
    ready = ablation.prepare(part, ablation.DRY)
    counts = {split: ablation.count(ready.shared(), split, ablation.DRY, kept / "demo") for split in part.study.sources}
    thresholds = parse_thresholds(ablation.DRY.thresholds)
    runs = ablation.runs_of(part, counts, "train", thresholds)
    split = part.study.train.open()
    scores = SeedScores(len(split.classes), thresholds)
    for photo in split.photos:
        loaded = ready.forward.load([photo])
        maps = activation_maps(ready.forward, loaded, {"lpcam": ready.methods["lpcam", 1]})["lpcam"][0]
        scores.update(maps, ablation.read_mask(photo), photo.name)
    best = compute(scores).best
    assert runs["lpcam 1"].best == pytest.approx((best.miou, best.threshold))
    for run in ablation.runs_of(part, counts, "val", thresholds).values():
        assert len(set(run.thresholds)) == 1
    assert ablation.difference(ready, ablation.DRY) < 1e-3
    merged = ablation._merged

    def other(*given):
        return [replace(maps, high_res=maps.high_res**1.1) for maps in merged(*given)]

    monkeypatch.setattr(ablation, "_merged", other)
    assert ablation.difference(ready, ablation.DRY) > 1e-3


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Synthetic photos and random classifiers in place of the real ones; the one class is the cat."""
    monkeypatch.setattr(ablation, "IMAGENET_CLASSES", 30)
    write_yardsticks(tmp_path / "shared")
    weights = tmp_path / "shared" / "data" / "weights" / ablation.IMAGENET
    photos.write_classifier(real_photos.ARCH, weights, seed=1, classes=ablation.IMAGENET_CLASSES)
    monkeypatch.setenv("LPCAM_REAL_DATA", str(tmp_path / "shared"))
    monkeypatch.setattr(ablation, "ANIMALS", {"cat": 21})
    return tmp_path


def test_a_probe_is_fitted_once_to_the_frozen_network(real):
    part = ablation.PARTS["probe-real_coco_subset"](ablation.DRY, real)
    assert part.facts == {"l2": 0.01, "map": None, "photos": 4}
    before = (real / "probe.pth").stat().st_mtime_ns
    assert ablation.PARTS["probe-real_coco_subset"](ablation.DRY, real).study == part.study
    assert (real / "probe.pth").stat().st_mtime_ns == before
    given, probe = (
        torch.load(path, weights_only=True)
        for path in (real / "shared" / "data" / "weights" / ablation.IMAGENET, real / "probe.pth")
    )
    assert torch.equal(given["features.0.0.weight"], probe["features.0.0.weight"])
    assert probe["classifier.1.weight"].shape == (20, 1280)


def test_one_class_is_known_by_its_index_in_imagenet_and_scored_by_its_mask(real):
    part = ablation._animal("cat", ablation.DRY, real)
    train = part.study.train.open()
    assert [photo.labels for photo in train.photos] == [(21,), (21,)]
    assert len(part.study.sources["aug"].open().photos) == 2
    assert (len(train.classes), part.value(21), part.classes) == (30, 8, (8,))
    ready = ablation.prepare(part, ablation.DRY)
    counts = {split: ablation.count(ready, split, ablation.DRY, real) for split in part.study.sources}
    assert counts["train"].classes.tolist() == [0, 8] * 2
    assert counts["train"].truth.tolist() == [48 * 64 - 64 - 32 * 32, 32 * 32] * 2
    scores = ablation._scores(part, counts, ablation.DRY)
    assert scores["one_class"]
    rows = scores["splits"]["aug"]["rows"]
    assert set(rows) == {"+".join((base, *post)) for base in ablation.OF_ONE_CLASS for post in ((), *POSTS)}
    assert all(row["per_class"] == {"cat": pytest.approx(row["miou"], abs=1e-6)} for row in rows.values())


def test_the_tables_and_the_plot_show_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "Not measured yet" in tables.ablation() == tables.ablation_plot()
    over = {"miou": 0.061, "interval": [0.042, 0.08], "worst_class": {"name": "cat", "iou": -0.003}}
    row = {"title": "CAM", "post": "nothing", "miou": 0.5, "miou_std": 0.01, "runs": [1, 2], "over_plain": over}
    splits = {"train": {"images": 7, "rows": {"cam": row, "cam+x": {**row, "post": "x"}}}}
    part = {"title": "photos", "classifier": "given", "splits": splits, "one_class": False}
    found = {"results": {"parts": {"a": part, "b": {**part, "title": "one", "one_class": True}}}}
    (tmp_path / "ablation.json").write_text(json.dumps(found))
    assert "| CAM | x | 50.0 ± 1.0 |" in tables.ablation()
    assert "photos, train (7), given" in tables.ablation()
    assert "one, train" not in tables.ablation()
    assert "| CAM | nothing | +6.1 (+4.2 to +8.0) |" in tables.ablation_gains()
    assert "| CAM | nothing | cat -0.3 |" in tables.ablation_worst()
    assert "| CAM | x | 50.0 ± 1.0, +6.1 (+4.2 to +8.0) |" in tables.ablation_one_class()
    (axes,) = plots.draw_ablation(found).axes
    points = [line for line in axes.lines if str(line.get_label()).startswith("followed by")]
    assert [list(line.get_xdata()) for line in points] == [[pytest.approx(6.1)], [pytest.approx(6.1)]]
    assert not math.isclose(points[0].get_ydata()[0], points[1].get_ydata()[0])


def test_a_part_that_is_not_there_is_told():
    with pytest.raises(LpcamError, match="did you mean"):
        ablation.main(["--dry-run", "--part", "given-real_voc_animal"])


def test_runs_walk_at_once_as_each_alone_and_an_even_walk_minds_no_classes():
    assert ablation.WalkOfRuns(alone=Walk(), runs=4).rate(8) == Walk().rate(2) > Walk().rate(1)
    assert ablation.EvenWalk(restart=0.1).rate(3) == 0.1
    together = ablation.WalkOfRuns(alone=ablation.EvenWalk(restart=0.1), runs=4)
    assert together.rate(8) == 0.1
