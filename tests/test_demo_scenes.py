"""The painted data set: exact masks, real files, same seed same bytes."""

from __future__ import annotations

import builtins
import csv

import numpy as np
import pytest
from PIL import Image

from lpcam.datasets import demo_land, open_split, read_mask, read_photo
from lpcam.datasets.demo import cast_of, open_demo, write_demo
from lpcam.datasets.demo_brush import FINE, Canvas, Frame, ellipse, feathers, limb, lit, noise, plain, polygon, smooth
from lpcam.datasets.demo_scenes import CLASSES, paint_scene
from lpcam.errors import LpcamError


def bytes_of(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, seed=3, train=14, val=4)
    return folder


# -- brush -------------------------------------------------------------------------------------------


def test_a_square_by_hand_covers_exactly_its_pixels_in_the_mask():
    canvas = Canvas.blank(10, 12, np.random.default_rng(0))
    corners = polygon(
        (2 * FINE, 3 * FINE), (6 * FINE - 1, 3 * FINE), (6 * FINE - 1, 7 * FINE - 1), (2 * FINE, 7 * FINE - 1)
    )
    square = corners * (1, -1)  # a frame's y goes up
    canvas.paint(Frame(0, 0, 1), square, plain((1, 0.5, 0), 0), value=4, relief=0)
    photo, mask = canvas.develop()
    expected = np.zeros((10, 12), np.uint8)
    expected[3:7, 2:6] = 4
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(photo[mask == 4], np.tile(np.uint8([255, 128, 0]), (16, 1)))
    assert not photo[mask == 0].any()


def test_what_is_painted_later_hides_what_was_there_and_none_leaves_the_mask():
    canvas = Canvas.blank(6, 6, np.random.default_rng(0))
    everything = polygon((0, 0), (18, 0), (18, -18), (0, -18))
    canvas.paint(Frame(0, 0, 1), everything, plain((1, 1, 1), 0), value=1)
    canvas.paint(Frame(0, 0, 1), everything, plain((0, 0, 0), 0), value=None)
    assert (canvas.develop()[1] == 1).all()
    canvas.paint(Frame(0, 0, 1), everything, plain((0, 0, 0), 0), value=2)
    assert (canvas.develop()[1] == 2).all()


def test_regions_outside_of_the_canvas_are_left_out():
    canvas = Canvas.blank(6, 6, np.random.default_rng(0))
    canvas.paint(Frame(-50, -50, 1), ellipse(0, 0, 3, 3), plain((1, 1, 1)), value=1)
    canvas.paint(Frame(0, 0, 1), ellipse(0, 0, 6, 6), plain((1, 1, 1)), value=2)
    assert sorted(np.unique(canvas.develop()[1])) == [0, 2]


def test_edges_of_the_photo_are_smooth_and_those_of_the_mask_are_not():
    canvas = Canvas.blank(40, 40, np.random.default_rng(0))
    canvas.paint(Frame(60, 60, 1), ellipse(0, 0, 40, 40), plain((1, 1, 1), 0), value=3, relief=0)
    photo, mask = canvas.develop()
    assert set(np.unique(mask)) == {0, 3}
    assert ((photo > 20) & (photo < 235)).any()


def test_a_frame_mirrors_scales_and_hangs_parts():
    frame = Frame(100, 50, 10, forward=-1)
    np.testing.assert_allclose(frame.pixels(polygon((2, 1))), [[80, 40]])
    part = frame.joint(2, 1, scale=0.5)
    np.testing.assert_allclose(part.pixels(polygon((2, 0))), [[70, 40]])
    turned = Frame(0, 0, 1).joint(0, 0, tilt=np.pi / 2)
    np.testing.assert_allclose(turned.pixels(polygon((1, 0))), [[0, -1]], atol=1e-6)


def test_curves_close_and_stay_near_their_corners():
    curve = smooth((0, 0), (4, 0), (4, 4), (0, 4))
    assert curve.min() > -1
    assert curve.max() < 5
    np.testing.assert_allclose(curve[[0, 10, 20, 30]], [(0, 0), (4, 0), (4, 4), (0, 4)], atol=1e-6)
    assert limb((0, 0), (0, 2), 0.4, 0.2)[:, 1].max() == pytest.approx(2.1, abs=0.01)


def test_light_comes_from_above():
    light = lit(np.ones((40, 40), np.uint8), 0.3)
    assert light[2:6, 10:30].mean() > 1.02
    assert light[-6:-2, 10:30].mean() < 0.98


def test_noise_is_of_the_size_asked_for_and_from_the_generator_only():
    first, again = (noise(np.random.default_rng(5), 7, 9, 2.5) for _ in range(2))
    assert first.shape == (7, 9)
    np.testing.assert_array_equal(first, again)


def test_feathers_have_rims_of_another_colour_in_rows():
    coat = feathers((0.8, 0.8, 0.8), (0.2, 0.2, 0.2))(np.random.default_rng(1), 80, 60, 100.0)
    assert coat.shape == (80, 60, 3)
    rim = coat.mean(axis=2) < 0.5
    assert 0.2 < rim.mean() < 0.6
    rows = rim.mean(axis=1)
    assert rows.max() > 2 * rows.min()  # rows, not salt and pepper


def test_haze_fades_the_far_ground_into_the_sky_and_leaves_the_near_ground():
    canvas = Canvas.blank(60, 20, np.random.default_rng(0))
    canvas.rgb[:60], canvas.rgb[60:] = 0.9, 0.1
    demo_land._haze(canvas, 60)
    column = canvas.rgb[:, 0, 0]
    assert column[60] == pytest.approx(0.9)
    assert np.all(np.diff(column[60:]) < 0)
    assert column[-1] == pytest.approx(0.1, abs=0.01)


# -- scenes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [(name,) for name in CLASSES] + [(), ("cow", "train"), ("bird", "boat")])
def test_a_scene_shows_what_was_wanted_and_nothing_else(wanted):
    for seed in range(3):
        photo, mask = paint_scene(np.random.default_rng(seed), wanted)
        assert photo.shape == (*mask.shape, 3)
        assert photo.dtype == mask.dtype == np.uint8
        assert sorted(np.unique(mask)) == sorted({0, *(CLASSES.index(name) + 1 for name in wanted)})
        assert 144 <= min(mask.shape) <= max(mask.shape) <= 192
        assert mask.shape[0] % 16 == mask.shape[1] % 16 == 0  # whole cells at every scale and in the mirror
        for name in wanted:
            assert 0.004 < (mask == CLASSES.index(name) + 1).mean() < 0.7


def test_the_mask_fits_the_photo_to_the_pixel():
    """Painted again with other colours around it, a pixel in the mask keeps its own colour."""
    rng_a, rng_b = np.random.default_rng(8), np.random.default_rng(8)
    photo, mask = paint_scene(rng_a, ("sheep",))
    inside, outside = photo[mask > 0].mean(axis=0), photo[mask == 0].mean(axis=0)
    assert np.abs(inside - outside).max() > 10
    again, same = paint_scene(rng_b, ("sheep",))
    np.testing.assert_array_equal(photo, again)
    np.testing.assert_array_equal(mask, same)


def test_rails_come_with_every_train_and_with_nothing_else(monkeypatch):
    laid = []
    original = demo_land._rails
    monkeypatch.setattr(demo_land, "_rails", lambda canvas, track: (laid.append(track), original(canvas, track)))
    for seed in range(4):
        paint_scene(np.random.default_rng(seed), ("train",))
    assert len(laid) == 4
    for wanted in [(), ("cow",), ("boat",), ("cow", "sheep")]:
        paint_scene(np.random.default_rng(1), wanted)
    assert len(laid) == 4


def test_casts_are_balanced_with_some_pairs_and_some_empty_land():
    casts = [cast_of(np.random.default_rng([0, 0, index]), index) for index in range(600)]
    sizes = np.bincount([len(cast) for cast in casts], minlength=3) / 600
    assert 0.06 < sizes[0] < 0.2
    assert 0.1 < sizes[2] < 0.25
    singles = [cast[0] for cast in casts if len(cast) == 1]
    assert min(singles.count(name) for name in CLASSES) > 40


# -- the tree on disk --------------------------------------------------------------------------------


def test_the_tree_is_in_the_voc_layout_and_opens_like_one(root):
    split = open_split("demo", root, "train")
    assert split.dataset == "demo"
    assert split.classes == CLASSES
    assert len(split.photos) == 14
    assert split.notices == ()
    for photo in split.photos:
        mask = read_mask(photo, len(CLASSES))
        assert read_photo(photo.path).shape[:2] == mask.shape
        assert photo.labels == tuple(value - 1 for value in np.unique(mask).tolist() if value)
    with Image.open(split.photos[0].mask) as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_the_same_tree_opens_as_voc_with_its_own_classes(root):
    opened = open_split("voc", root, "val", labels=root / "labels.csv", classes=root / "classes.txt")
    assert [photo.labels for photo in opened.photos] == [photo.labels for photo in open_demo(root, "val").photos]


def test_labels_csv_names_every_photo_of_both_splits(root):
    with (root / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert {word for row in rows for word in row["classes"].split(";") if word} <= set(CLASSES)


def test_same_seed_same_bytes_and_other_seed_other_photos(root, tmp_path):
    write_demo(tmp_path / "again", seed=3, train=14, val=4)
    assert bytes_of(tmp_path / "again") == bytes_of(root)
    write_demo(tmp_path / "other", seed=4, train=2, val=0)
    assert (tmp_path / "other/JPEGImages/train_0000.jpg").read_bytes() != bytes_of(root)["JPEGImages/train_0000.jpg"]


def test_a_smaller_data_set_is_the_beginning_of_a_larger_one(root, tmp_path):
    write_demo(tmp_path, seed=3, train=3, val=1)
    small, large = bytes_of(tmp_path), bytes_of(root)
    assert all(small[name] == large[name] for name in small if "JPEGImages" in name or "SegmentationClass" in name)


def test_progress_ends_at_the_number_of_photos(tmp_path):
    calls = []
    write_demo(tmp_path, train=2, val=1, progress=lambda *call: calls.append(call))
    assert calls[0] == ("paint", 0, 3)
    assert calls[-1] == ("paint", 3, 3)


def test_a_folder_without_the_demo_says_how_to_make_one(tmp_path):
    with pytest.raises(LpcamError, match="lpcam demo"):
        open_demo(tmp_path, "train")


def test_negative_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="0 or more"):
        write_demo(tmp_path, train=-1)


def test_without_opencv_it_says_what_to_install(tmp_path, monkeypatch):
    original = builtins.__import__

    def no_cv2(name, *args, **kwargs):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cv2)
    with pytest.raises(LpcamError, match="opencv-python-headless"):
        write_demo(tmp_path, train=1, val=0)
