"""Which photos are worth a look: chosen by rank."""

from __future__ import annotations

from lpcam.records import DataSplit, Photo
from lpcam.report.examples import Gain, choose, measure
from lpcam.report.seeds import score
from tests.report.conftest import CLASSES, seeds_of, square_photo


def gain(name, label, before, after):
    return Gain(Photo(name, None, (label,)), label, before, after)


def test_the_best_of_every_class_the_middle_and_the_worst_without_repeats():
    gains = [gain(f"a{n}", 0, 0.2, 0.2 + n / 10) for n in range(5)] + [
        gain(f"b{n}", 1, 0.5, 0.3 + n / 10) for n in range(5)
    ]
    chosen = choose(gains, CLASSES, median=2, worst=1)
    assert [item.photo.name for item in chosen["best"]] == ["a4", "b4"]
    assert [item.photo.name for item in chosen["worst"]] == ["b0"]
    middle = sorted(item.difference for item in gains)[len(gains) // 2]
    assert all(abs(item.difference - middle) < 0.11 for item in chosen["median"])
    names = [item.photo.name for items in chosen.values() for item in items]
    assert len(set(names)) == len(names) == 5


def test_few_photos_are_shown_once_each():
    chosen = choose([gain("a", 0, 0.1, 0.4)], CLASSES)
    assert [len(chosen[reason]) for reason in ("best", "median", "worst")] == [1, 0, 0]


def test_the_order_of_the_gains_does_not_matter():
    gains = [gain(f"p{n}", n % 2, 0.3, 0.3 + (n % 3) / 10) for n in range(9)]
    assert choose(gains, CLASSES) == choose(gains[::-1], CLASSES)


def test_measured_gains_are_those_of_the_seeds(tmp_path):
    split = DataSplit("folder", "train", CLASSES, (square_photo(tmp_path, "p", label=0, rows=4),))
    before, after = (
        score(split, seeds_of(tmp_path, name, {"p": rows})) for name, rows in (("before", 2), ("after", 4))
    )
    (found,) = measure(split, before, after)
    assert (found.before, found.after) == (0.5, 1.0)


def test_photos_without_a_score_are_left_out(tmp_path):
    split = DataSplit("folder", "train", CLASSES, (square_photo(tmp_path, "p", label=0, rows=4),))
    none, some = (score(split, seeds_of(tmp_path, name, rows)) for name, rows in (("none", {}), ("some", {"p": 4})))
    assert measure(split, none, some) == []
