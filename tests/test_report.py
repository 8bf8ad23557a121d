"""Tiles, examples and the page, by hand and as a browser reads them."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps, DataSplit, Photo
from lpcam.refiners import get_refiner
from lpcam.report import pictures
from lpcam.report.examples import Gain, Seeds, choose, iou, measure
from lpcam.report.page import Exhibit, Page, Panel, Section, Table, render, write_page

CLASSES = ("cow", "train")


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)


# -- tiles -------------------------------------------------------------------------------------------


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


# -- examples ----------------------------------------------------------------------------------------


def gain(name, label, before, after):
    return Gain(Photo(name, None, (label,)), label, before, after)


def test_iou_by_hand():
    seed, truth = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    assert iou(seed, truth) == pytest.approx(1 / 3)
    assert iou(seed & False, truth & False) == 0


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
    truth = np.zeros((8, 8), np.uint8)
    truth[:4] = 1
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "p.jpg")
    Image.fromarray(truth).save(tmp_path / "p.png")
    refiner = get_refiner("irn")
    for folder, rows in (("before", 2), ("after", 4)):
        high = torch.zeros(1, 8, 8)
        high[:, :rows] = 1.0
        refiner.write(tmp_path / folder, "p", ActivationMaps((0,), high[:, ::4, ::4].contiguous(), high))
    split = DataSplit("folder", "train", CLASSES, (Photo("p", tmp_path / "p.jpg", (0,), tmp_path / "p.png"),))
    before, after = (Seeds(name, tmp_path / name, 0.5, refiner) for name in ("before", "after"))
    (found,) = measure(split, before, after)
    assert (found.before, found.after) == (0.5, 1.0)


# -- page --------------------------------------------------------------------------------------------


class Checker(HTMLParser):
    """Collects what would leave the page, its pictures, and whether tags are closed."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.images, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.links += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(photo):
    exhibit = Exhibit("cow <1>", (Panel("Photo", photo, "p1"), Panel("CAM", photo[:20])))
    table = Table("caption", ("method", "mIoU"), (("CAM", "40.1"), ("LPCAM", "50.2")), strong=1)
    return Page("A & B", ("Lead.",), (table,), (Section("Best", "why", (exhibit,)),), ("lpcam demo",), "seed 0")


def test_the_page_is_whole_html_that_needs_nothing_else(page):
    checker = Checker()
    checker.feed(render(page))
    assert checker.open == []
    assert len(checker.images) == 2
    assert all(link.startswith("data:image/webp;base64,") for link in checker.links)
    assert all(image["alt"] for image in checker.images)


def test_the_pictures_on_the_page_are_the_tiles(page, photo):
    checker = Checker()
    checker.feed(render(page))
    sizes = []
    for image in checker.images:
        with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as opened:
            sizes.append(opened.size)
            assert (int(image["width"]), int(image["height"])) == opened.size
    assert sizes == [(40, 30), (40, 20)]


def test_text_is_escaped_and_the_strong_row_marked(page):
    html = render(page)
    assert "cow &lt;1&gt;" in html
    assert "<h1>A &amp; B</h1>" in html
    assert re.search(r'<tr class="strong">\s*<th scope="row">LPCAM', html)


def test_light_dark_and_phone_are_provided_for(page):
    html = render(page)
    assert "prefers-color-scheme: dark" in html
    assert "max-width: 760px" in html
    assert 'name="viewport"' in html


def test_the_page_is_written_whole_or_an_error_says_why(page, tmp_path):
    write_page(tmp_path / "a" / "index.html", page)
    assert (tmp_path / "a" / "index.html").read_text(encoding="utf-8") == render(page)
    (tmp_path / "file").write_text("")
    with pytest.raises(LpcamError, match="permissions"):
        write_page(tmp_path / "file" / "index.html", page)
