"""Which photos the gallery shows, and that what it holds of them is what the files say."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from lpcam.datasets import read_mask, read_photo
from lpcam.records import DataSplit, Photo
from lpcam.report import gallery
from lpcam.report.seeds import find_seeds, score
from lpcam.report.thumbnails import shrunk
from lpcam.sources import DataSource
from lpcam.workspace import Workspace
from tests.report.conftest import CLASSES, seeds_of, square_photo


def opened(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def split(demo):
    return DataSource("demo", demo.data, "train").open()


@pytest.fixture(scope="module")
def methods(demo, split):
    return [score(split, seeds) for seeds in find_seeds(Workspace(demo.workspace), {})]


def test_few_photos_are_all_shown_in_their_order(split, methods):
    assert gallery.choose(split.photos, methods, 30) == list(split.photos)


def test_of_many_the_ends_of_the_ranking_are_shown(tmp_path):
    names = [f"p{place:02d}" for place in range(40)]
    photos = tuple(square_photo(tmp_path, name, label=0, rows=40, side=64) for name in names)
    split = DataSplit("folder", "train", CLASSES, photos)
    before = score(split, seeds_of(tmp_path, "before", dict.fromkeys(names, 20), side=64))
    rows = {name: 1 + place for place, name in enumerate(names)}
    after = score(split, seeds_of(tmp_path, "after", rows, side=64))
    shown = [photo.name for photo in gallery.choose(photos, [before, after], 8)]
    assert len(shown) == 8
    assert {"p00", "p01", "p38", "p39"} <= set(shown)
    between = [int(name[1:]) for name in shown[2:-2]]
    assert max(np.diff([0, *between, 39])) < 16


def test_without_masks_they_are_taken_evenly(tmp_path):
    photos = tuple(Photo(f"p{place}", tmp_path, (0,)) for place in range(9))
    method = score(DataSplit("folder", "train", CLASSES, photos), seeds_of(tmp_path, "m", {}))
    assert [photo.name for photo in gallery.choose(photos, [method], 5)] == ["p0", "p2", "p4", "p6", "p8"]


def test_an_entry_holds_photo_truth_maps_and_scores(split, methods):
    (entry,) = gallery.draw(split, split.photos[:1], methods, 10**6)
    photo = split.photos[0]
    width, height = entry["size"]
    pixels = opened(entry["photo"]).astype(int)
    assert pixels.shape == (height, width, 3)
    assert np.abs(pixels - shrunk(read_photo(photo.path), max(width, height))).mean() < 12
    assert opened(entry["truth"]).tolist() == read_mask(photo).tolist()  # small photos are not shrunk
    for method, maps, curves in zip(methods, entry["maps"], entry["iou"], strict=True):
        high = method.seeds.read(photo).high_res.numpy()
        planes = opened(maps)[..., 0].reshape(len(photo.labels), -1, opened(maps).shape[1])
        for plane, each, curve in zip(planes, high, curves, strict=True):
            small = shrunk((255 * each).round().astype(np.uint8), gallery.SIZES[0].side // 2)
            assert np.abs(plane.astype(int) - small).max() < 30
            assert np.abs(plane.astype(int) - small).mean() < 4
            assert len(base64.b64decode(curve)) == 101


@pytest.mark.parametrize("allowance", [400_000, 120_000, 60_000])
def test_photos_shrink_into_the_allowance(split, methods, allowance):
    entries = gallery.draw(split, split.photos[:12], methods, allowance)
    assert len(json.dumps(entries)) <= 1.01 * allowance
    assert len({entry["name"] for entry in entries}) == 12


def test_what_does_not_fit_is_as_small_as_it_gets(split, methods):
    (entry,) = gallery.draw(split, split.photos[:1], methods, 1)
    assert max(entry["size"]) == gallery.SIZES[-1].side


def test_a_photo_without_classes_or_seeds_has_no_maps(split, methods, tmp_path):
    photo = square_photo(tmp_path, "bare", label=0, rows=0)
    (entry,) = gallery.draw(split, [photo], methods, 10**5)
    assert (entry["maps"], entry["iou"]) == ([None] * 3, [None] * 3)
