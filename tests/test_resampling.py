"""Pillow's bicubic resampling, held to Pillow itself byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lpcam.resampling import bicubic, is_settled, taps
from lpcam.views import PUBLISHED_SCALES, view_size

SIDES = st.integers(1, 70)


def by_pillow(photo, size):
    return np.asarray(Image.fromarray(photo).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def by_us(photo, size):
    return bicubic(torch.from_numpy(photo).permute(2, 0, 1).contiguous(), size).permute(1, 2, 0).numpy()


@settings(max_examples=300, deadline=None)
@given(before=st.tuples(SIDES, SIDES), after=st.tuples(SIDES, SIDES), seed=st.integers(0, 99), harsh=st.booleans())
def test_every_size_is_pillows_to_the_byte(before, after, seed, harsh):
    random = np.random.default_rng(seed)
    photo = random.integers(0, 256, (*before, 3), dtype=np.uint8)
    if harsh:  # overshoots both ends of 0..255
        photo = ((photo > 127) * 255).astype(np.uint8)
    if is_settled(before, after):
        np.testing.assert_array_equal(by_us(photo, after), by_pillow(photo, after))


@pytest.mark.parametrize("scale", [*PUBLISHED_SCALES, 0.25, 1.25, 8])
@pytest.mark.parametrize("size", [(375, 500), (500, 333), (97, 131)])
def test_the_published_scales_of_photos_are_pillows(size, scale):
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    if scale == 8:
        photo = photo[:40, :30]
    after = view_size(photo.shape[:2], scale)
    assert is_settled(photo.shape[:2], after)
    np.testing.assert_array_equal(by_us(photo, after), by_pillow(photo, after))


def test_photos_of_a_batch_do_not_touch_each_other():
    photos = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 9, 14), dtype=np.uint8))
    both = bicubic(photos, (5, 28))
    assert torch.equal(both, torch.stack([bicubic(photo, (5, 28)) for photo in photos]))


def test_a_photo_of_the_size_is_left_as_it_is():
    photo = torch.zeros(3, 4, 5, dtype=torch.uint8)
    assert bicubic(photo, (4, 5)) is photo


def test_twice_a_line_by_hand():
    """At twice the size a pixel lies a quarter beside its source: Keys' kernel at 1/4, 3/4, 5/4, 7/4."""
    _, weights = taps(8, 16)
    expected = np.array([-0.0234375, 0.2265625, 0.8671875, -0.0703125]) * 2**22  # 7/4, 3/4, 1/4, 5/4
    middle = weights[:, 8]
    np.testing.assert_array_equal(middle[middle != 0], expected)


def test_grey_stays_grey_at_every_size():
    for value in (0, 1, 127, 254, 255):
        photo = torch.full((3, 7, 11), value, dtype=torch.uint8)
        assert set(bicubic(photo, (19, 3)).unique().tolist()) == {value}


@pytest.mark.parametrize(
    ("before", "after", "settled"),
    [((100, 100), (50, 50), True), ((100, 40), (50, 20), False), ((100, 40), (150, 20), True), ((9, 9), (9, 9), True)],
)
def test_what_versions_of_pillow_agree_on(before, after, settled):
    assert is_settled(before, after) is settled


def test_what_cannot_be_resized_is_refused():
    with pytest.raises(TypeError, match=r"uint8, got torch\.float32"):
        bicubic(torch.zeros(3, 4, 4), (2, 2))
    with pytest.raises(ValueError, match="1 px or more"):
        bicubic(torch.zeros(3, 4, 4, dtype=torch.uint8), (0, 2))
    with pytest.raises(ValueError, match="1 px or more"):
        bicubic(torch.zeros(3, 0, 4, dtype=torch.uint8), (1, 2))


@pytest.mark.gpu
@pytest.mark.parametrize("after", [(188, 250), (562, 750), (750, 1000)])
def test_a_gpu_gives_the_same_bytes(after):
    photo = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 375, 500), dtype=np.uint8))
    assert torch.equal(bicubic(photo.cuda(), after).cpu(), bicubic(photo, after))
