"""Crops by hand: where the photo lies, what is outside, which lengths are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from lpcam.training.crops import centred, random_crop, read_ahead, resized

PLAIN = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves 0..255 as it is


class Fixed:
    """Draws what it is told."""

    def __init__(self, *integers, mirror=False):
        self.integers_, self.asked, self.mirror = list(integers), [], mirror

    def integers(self, low, high, endpoint):
        self.asked.append((low, high, endpoint))
        return self.integers_.pop(0)

    def random(self):
        return 0.1 if self.mirror else 0.9


def photo(height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(1, height + 1)[:, None], np.arange(1, width + 1)
    return pixels


def test_a_small_photo_lies_where_it_is_put_with_zeros_around():
    random = Fixed(5, 1, 3)
    crop = random_crop(photo(4, 5), 8, (3.4, 5), PLAIN, random)
    assert random.asked == [(3, 5, True), (0, 4, True), (0, 3, True)]
    expected = np.zeros((3, 8, 8), np.float32)
    expected[:, 1:5, 3:8] = photo(4, 5).transpose(2, 0, 1)
    np.testing.assert_allclose(crop, expected, atol=1e-4)


def test_of_a_large_photo_a_window_is_seen_mirrored_or_not():
    random = Fixed(9, -2, -4, mirror=True)
    crop = random_crop(photo(6, 9), 3, (9, 9), PLAIN, random)
    assert random.asked[1:] == [(-3, 0, True), (-6, 0, True)]
    np.testing.assert_allclose(crop, photo(6, 9)[:, ::-1][2:5, 4:7].transpose(2, 0, 1), atol=1e-4)


def test_one_axis_may_be_larger_and_the_other_smaller_and_outside_is_zero_after_the_mean():
    crop = random_crop(photo(2, 7), 4, (7, 7), ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), Fixed(7, 2, -3))
    assert (crop[:, :2] == 0).all()
    np.testing.assert_allclose(crop[1, 2], (np.arange(4, 8) / 255 - 0.5) / 0.25, rtol=1e-5)


def test_the_whole_photo_is_seen_in_validation():
    square = centred(photo(4, 6), 8, 6, PLAIN)
    np.testing.assert_allclose(square[:, 2:6, 1:7], photo(4, 6).transpose(2, 0, 1), atol=1e-4)
    assert square.sum() == pytest.approx(photo(4, 6).sum(), rel=1e-5)
    assert resized(photo(1, 90), 30).shape == (1, 30, 3)


@pytest.mark.parametrize("workers", [0, 3])
def test_reading_ahead_keeps_the_order_and_passes_errors_on(workers):
    assert list(read_ahead(str, range(20), workers, ahead=4)) == [str(number) for number in range(20)]
    found = read_ahead(lambda number: 1 / number, [1, 0, 2], workers, ahead=4)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
