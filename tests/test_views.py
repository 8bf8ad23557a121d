"""views: sizes by hand, resizing against PIL and the reference, laws of the normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.errors import LpcamError
from lpcam.views import (
    check_scales,
    merge_scales,
    normalise,
    normalised,
    padded_size,
    strided_size,
    sum_high_res,
    view,
    view_size,
    with_mirror,
)
from tests.reference import cam as reference


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (97, 130), (375, 500), (16, 17)])
def test_sizes_are_those_of_irn(size):
    height, width = size
    assert strided_size(size) == (len(range(0, height, 4)), len(range(0, width, 4)))
    assert padded_size(size) == (-(-height // 16) * 16, -(-width // 16) * 16)


def test_view_size_rounds_half_to_even_and_keeps_the_least_side():
    assert view_size((3, 5), 0.5) == (2, 2)
    assert view_size((375, 500), 1.5) == (562, 750)
    assert view_size((1, 500), 0.5, minimum_side=32) == (32, 250)


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [1.0, 1.0], [9.0], [float("nan")]])
def test_scales_that_make_no_sense_are_refused(bad):
    with pytest.raises(LpcamError, match=r"scales.*try 1,\.5,1\.5,2"):
        check_scales(bad)


def test_view_is_pil_bicubic_then_normalised():
    photo = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    resized = np.asarray(Image.fromarray(photo).resize((21, 15), Image.Resampling.BICUBIC))
    expected = (resized / 255.0 - np.array(mean)) / np.array(std)
    found = view(photo, (15, 21), mean, std)
    assert found.shape == (3, 15, 21)
    assert np.allclose(found.numpy(), expected.transpose(2, 0, 1), atol=1e-6)


def test_view_at_its_own_size_keeps_every_pixel_and_does_not_touch_the_photo():
    photo = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    before = photo.copy()
    found = view(photo, (2, 3), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert np.allclose(found.numpy() * 255, photo.transpose(2, 0, 1), atol=1e-4)
    assert np.array_equal(photo, before)


def test_mirror_of_mirror_is_the_image():
    image = torch.rand(3, 5, 7)
    both = with_mirror(image)
    assert torch.equal(both[0], image)
    assert torch.equal(both[1].flip(-1), image)
    assert not torch.equal(both[1], image)


def test_high_res_equals_the_slow_transcription():
    maps = [torch.rand(1, 3, 4), torch.rand(1, 2, 2), torch.rand(1, 5, 6)]
    found = normalise(sum_high_res(maps, (41, 50)), 1e-5)[0].numpy()
    expected = reference.high_res([scale_map[0].double().numpy() for scale_map in maps], (41, 50))
    assert found.shape == (41, 50)
    assert np.abs(found - expected).max() < 1e-5


def test_an_all_zero_map_stays_zero_and_others_reach_one():
    maps = torch.stack([torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [4.0, 0.0]])])
    found = normalise(maps)
    assert found[0].tolist() == [[0, 0], [0, 0]]
    assert found[1].tolist() == [[0.25, 0.5], [1, 0]]


def test_a_photo_without_labels_has_maps_of_no_class():
    merged = merge_scales([torch.zeros(0, 3, 4)], (), (33, 47), 1e-5)
    assert merged.high_res.shape == (0, 33, 47)
    assert merged.strided.shape == (0, 9, 12)


def test_scaling_every_map_changes_nothing_without_epsilon():
    maps = [torch.rand(2, 3, 4), torch.rand(2, 2, 2)]
    first = merge_scales(maps, (0, 1), (20, 30), 0.0)
    second = merge_scales([8 * scale_map for scale_map in maps], (0, 1), (20, 30), 0.0)
    assert torch.allclose(first.high_res, second.high_res, atol=1e-6)
    assert torch.allclose(first.strided, second.strided, atol=1e-6)


def test_a_device_normalises_as_the_host_does():
    photo = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = normalised(torch.from_numpy(photo).permute(2, 0, 1), mean, std)
    assert torch.equal(found, view(photo, (5, 7), mean, std))
