"""Seeds are found, titled and scored as `lpcam evaluate` scores them."""

from __future__ import annotations

import shutil

import pytest
import torch

from lpcam import corridor
from lpcam.errors import LpcamError
from lpcam.files import write_json
from lpcam.records import ActivationMaps, DataSplit, Photo
from lpcam.report.seeds import THRESHOLDS, UNSCORED, find_seeds, gain, map_of, rank, score
from lpcam.sources import DataSource
from lpcam.workspace import Workspace
from tests.report.conftest import CLASSES, seeds_of, square_photo


def split_of(*photos: Photo) -> DataSplit:
    return DataSplit("folder", "train", CLASSES, photos)


def test_the_methods_of_a_workspace_come_cam_first_with_others_last(demo):
    found = find_seeds(Workspace(demo.workspace), {"mine": demo.workspace / "seeds-on-edges/lpcam/irn"})
    assert [seeds.title for seeds in found] == ["CAM", "class prototypes only", "LPCAM", "mine"]
    assert found[-1].made_by["propagation"] == {"edges": "pamr"}


def test_the_family_of_the_seeds_is_found_or_asked_for(demo, tmp_path):
    workspace = Workspace(tmp_path)
    shutil.copytree(demo.workspace / "seeds/cam/irn", workspace.seeds("cam", "irn"))
    corridor.convert(workspace.seeds("cam", "irn"), workspace.seeds("cam", "psa"), from_refiner="irn", to_refiner="psa")
    assert [seeds.refiner.name for seeds in find_seeds(workspace, {})] == ["irn"]
    shutil.rmtree(workspace.seeds("cam", "irn"))
    with pytest.raises(LpcamError, match="no seeds"):
        find_seeds(workspace, {}, "irn")


def test_scores_are_those_of_evaluate(demo):
    workspace, split = Workspace(demo.workspace), DataSource("demo", demo.data, "train").open()
    for seeds, row in zip(find_seeds(workspace, {}), demo.rows, strict=False):
        found = score(split, seeds)
        assert found.curve is not None
        assert (found.curve.best.miou, found.threshold) == (row.miou, row.threshold)
        assert found.confusion is not None
        hits = found.confusion.diagonal().double()
        union = found.confusion.sum(dim=0) + found.confusion.sum(dim=1) - hits
        assert (hits / union).nanmean().item() == pytest.approx(row.miou)


def test_the_iou_of_a_photo_by_hand(tmp_path):
    photos = [square_photo(tmp_path, name, label=0, rows=4) for name in ("a", "b")]
    found = score(split_of(*photos), seeds_of(tmp_path, "m", {"a": 2, "b": 8}))
    assert [found.iou(photo, 0) for photo in photos] == [0.5, 0.5]
    assert found.halves["a"].shape == (1, len(THRESHOLDS))
    assert found.halves["a"][0, -1] == 0  # nothing is above 1


def test_what_is_missing_or_zero_is_counted(tmp_path):
    photos = [square_photo(tmp_path, name, label=0, rows=4) for name in ("a", "b", "c")]
    found = score(split_of(*photos), seeds_of(tmp_path, "m", {"a": 0, "b": 3}))
    assert (found.missing, found.empty) == (1, (("a", "cow"),))
    assert found.iou(photos[2], 0) is None


def test_without_masks_there_are_no_scores(tmp_path):
    photo = square_photo(tmp_path, "a", label=0, rows=4)
    found = score(split_of(Photo("a", photo.path, (0,))), seeds_of(tmp_path, "m", {"a": 2}))
    assert (found.curve, found.confusion, found.threshold) == (None, None, UNSCORED)


def test_a_class_that_a_seed_leaves_out_is_unknown_and_its_map_zero(tmp_path):
    photo = square_photo(tmp_path, "a", label=0, rows=4)
    found = score(split_of(Photo("a", photo.path, (0, 1), photo.mask)), seeds_of(tmp_path, "m", {"a": 4}))
    assert (found.iou(photo, 0), found.halves["a"][1].unique().tolist()) == (1.0, [255])
    maps = ActivationMaps((0,), torch.ones(1, 1, 1), torch.ones(1, 2, 3))
    assert map_of(maps, 1).tolist() == [[0.0] * 3] * 2


def test_photos_are_ranked_by_gain(tmp_path):
    photos = [square_photo(tmp_path, name, label=0, rows=4) for name in ("a", "b", "c")]
    split = split_of(*photos)
    before = score(split, seeds_of(tmp_path, "before", {"a": 4, "b": 2}))
    after = score(split, seeds_of(tmp_path, "after", {"a": 2, "b": 4, "c": 4}))
    assert [gain(photo, before, after) for photo in photos] == [-0.5, 0.5, None]
    assert [photo.name for photo in rank(photos, before, after)] == ["b", "c", "a"]


def test_what_followed_the_method_stands_in_its_title(tmp_path):
    workspace = Workspace(tmp_path)
    for method, propagation in (("cam", {"walk": {"steps": 30}, "edges": "pamr"}), ("mine", {})):
        record = {"made_by": {"method": method, "refiner": "irn", "propagation": propagation}}
        write_json(workspace.seeds(method, "irn") / ".lpcam-seeds.json", record)
    assert [seeds.title for seeds in find_seeds(workspace, {})] == ["CAM, walk, PAMR", "mine"]
