"""Tiles, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lpcam.report import pictures

CLASSES = ("cow", "train")


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def test_small_photos_grow_by_whole_pixels_and_large_ones_shrink(photo):
    assert pictures.photo_tile(photo, 130).shape == (90, 120, 3)
    assert pictures.photo_tile(photo, 20).shape == (15, 20, 3)


def test_a_seed_by_hand():
    maps = np.array([[[0.9, 0.3, 0.2]], [[0.1, 0.4, 0.3]]], np.float32)
    assert pictures.seed(maps, [2, 5], 0.3).tolist() == [[3, 6, 0]]  # a tie goes to the background
    assert pictures.seed(np.zeros((0, 1, 2), np.float32), [], 0.0).tolist() == [[0, 0]]


def test_heat_gets_lighter_as_the_map_grows(photo):
    grey = np.full((40, 60, 3), 128, np.uint8)
    ramp = np.linspace(0, 1, 60, dtype=np.float32)[None].repeat(40, axis=0)
    tile = pictures.heat_tile(grey, ramp, "cow", longest=60)
    light = tile[30:].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light.mean(axis=0)[2:-2]) > -1).all()
    assert light[:, -3].mean() > light[:, 3].mean() + 100


def test_a_mask_is_coloured_inside_and_dimmed_outside(photo):
    mask = np.zeros((30, 40), np.uint8)
    mask[5:25, 10:30] = 2
    tile = pictures.mask_tile(photo, mask, CLASSES, longest=400)
    inside, outside = tile[220:240, 120:280].reshape(-1, 3).mean(axis=0), tile[:30, :50].reshape(-1, 3).mean(axis=0)
    assert np.abs(inside - pictures.colour_of(1)).max() < 80
    assert outside.mean() < photo[:3, :5].mean()
    assert (tile[49:51, 120:280] > 250).all()  # the outline


def test_the_name_stands_on_the_object_and_inside_of_the_tile():
    mask = np.zeros((60, 80), np.uint8)
    mask[40:60, 60:80] = 1
    blank = np.zeros((60, 80, 3), np.uint8)
    with_name = pictures.mask_tile(blank, mask, CLASSES, longest=320)
    changed = (with_name == pictures.mask_tile(blank, mask, ("x", "train"), longest=320)).all(axis=2)
    rows, columns = np.nonzero(~changed)
    assert rows.min() > 120
    assert columns.min() > 160


def test_ignored_pixels_and_empty_masks_are_drawn(photo):
    mask = np.zeros((30, 40), np.uint8)
    plain = pictures.mask_tile(photo, mask, CLASSES)
    mask[:, :20] = 255
    assert pictures.mask_tile(photo, mask, CLASSES)[:, :100].mean() > plain[:, :100].mean()


def test_colours_differ_for_the_first_seven_classes():
    assert len({pictures.colour_of(index) for index in range(7)}) == 7


def test_pictures_that_do_not_fit_are_refused(photo):
    with pytest.raises(ValueError, match="a plane"):
        pictures.heat_tile(photo, np.zeros((3, 3), np.float32), "cow")
    with pytest.raises(ValueError, match="up to 2"):
        pictures.mask_tile(photo, np.full((30, 40), 3, np.uint8), CLASSES)


def test_the_grid_holds_every_tile(photo):
    red = np.zeros((30, 40, 3), np.uint8)
    red[..., 0] = 255
    sheet = np.array(pictures.grid([[photo, red], [red, red]], ["a", "b"], [["", ""], ["", ""]], "title"))
    assert (sheet == (255, 0, 0)).all(axis=2).sum() > 3 * 0.9 * 184 * 138
