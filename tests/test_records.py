"""records: fingerprints, reports, execution options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Execution, Failure, Photo, StageReport


def split() -> DataSplit:
    photos = (Photo("a", Path("/x/a.jpg"), (0,)), Photo("b", Path("/x/b.jpg"), (0, 1)))
    return DataSplit("voc", "train", ("sheep", "train"), photos)


def test_the_fingerprint_follows_names_labels_and_classes_not_paths():
    plain = split()
    moved = replace(plain, photos=tuple(replace(photo, path=Path("/y") / photo.name) for photo in plain.photos))
    assert moved.fingerprint == plain.fingerprint
    relabelled = replace(plain, photos=(replace(plain.photos[0], labels=(1,)), plain.photos[1]))
    reordered = replace(plain, photos=plain.photos[::-1])
    renamed = replace(plain, classes=("sheep", "boat"))
    assert len({each.fingerprint for each in (plain, relabelled, reordered, renamed)}) == 4


def test_the_report_has_the_contracts_fields():
    report = StageReport(3, 2, (Failure("a", "truncated"),), 2.0, 1.5).as_json()
    assert report["images"] == 3
    assert report["skipped"] == 2
    assert report["failed"] == 1
    assert report["failures"] == [{"name": "a", "reason": "truncated"}]
    assert report["images_per_second"] == 1.5
    assert StageReport(0, 2, (), 0.0, 0.0).as_json()["images_per_second"] == 0.0


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"workers": -1}])
def test_execution_options_out_of_range(bad):
    with pytest.raises(LpcamError, match=r"choose \d or more"):
        Execution(**bad)


def test_the_reports_of_shards_add_up():
    first = StageReport(3, 0, (Failure("a", "x"),), 2.0, 1.5, empty_maps={"cam": 1})
    second = StageReport(1, 2, (), 9.0, 1.0, empty_maps={"cam": 2, "lpcam": 0})
    whole = StageReport.merged([first, second], 5.0)
    assert whole == StageReport(4, 2, (Failure("a", "x"),), 5.0, 2.5, empty_maps={"cam": 3, "lpcam": 0})
    assert StageReport.merged([], 0.0) == StageReport(0, 0, (), 0.0, 0.0)


def test_batches_and_readers_suit_the_device_unless_they_are_given():
    assert (Execution().batch_on("cpu"), Execution().readers_on("cpu")) == (1, 1)
    assert Execution().batch_on("cuda") > 1
    given = Execution(batch_size=3, workers=0)
    assert {(given.batch_on(kind), given.readers_on(kind)) for kind in ("cpu", "cuda")} == {(3, 0)}
