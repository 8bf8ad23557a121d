"""sources: what a feature store remembers opens the same data and the same classifier again."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from lpcam.errors import LpcamError
from lpcam.sources import ClassifierSource, DataSource


def test_a_remembered_source_opens_from_any_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(data.root.parent)
    relative = replace(
        data, root=data.root.relative_to(data.root.parent), labels=data.labels.relative_to(data.root.parent)
    )
    remembered = json.loads(json.dumps(relative.as_json()))
    monkeypatch.chdir(os.sep)
    assert DataSource.from_json(remembered).open().fingerprint == data.open().fingerprint


def test_a_list_file_is_remembered_by_its_absolute_path(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.txt").write_text("2007_000000\n")
    remembered = replace(data, split="few.txt").as_json()
    monkeypatch.chdir(os.sep)
    assert [photo.name for photo in DataSource.from_json(remembered).open().photos] == ["2007_000000"]


def test_with_split():
    source = DataSource("voc", None, "train")
    assert source.with_split("val").split == "val"
    assert source.with_split(None) is source


def test_a_remembered_classifier_is_the_same(classifier):
    remembered = ClassifierSource.from_json(json.loads(json.dumps(replace(classifier, stride=8).as_json())))
    assert remembered.stride == 8
    assert remembered.load(2, "cpu").sha256 == classifier.load(2, "cpu").sha256


def test_the_word_imagenet_is_not_a_path():
    assert ClassifierSource("torchvision/resnet18", "imagenet").as_json()["weights"] == "imagenet"


@pytest.mark.parametrize("change", [{"root": 7}, {"root": None}, {"labels": ["a"]}, {"dataset": {}}, {"split": None}])
def test_photos_that_are_not_remembered_well_are_one_line(data, change):
    with pytest.raises(LpcamError, match="what the workspace remembers of its photos is damaged: run"):
        DataSource.from_json({**data.as_json(), **change})


@pytest.mark.parametrize("value", [{"arch": None}, {"weights": 3}, {"stride": "8"}, {"head": []}])
def test_a_classifier_that_is_not_remembered_well_is_one_line(classifier, value):
    with pytest.raises(LpcamError, match="what the workspace remembers of its classifier is damaged: run"):
        ClassifierSource.from_json({**classifier.as_json(), **value})
    with pytest.raises(LpcamError, match="is damaged"):
        ClassifierSource.from_json([])
