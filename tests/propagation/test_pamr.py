"""propagation.pamr: by hand, by law, and against the transcription."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpcam.propagation.pamr import neighbour_weights, pamr
from tests.reference import propagation as reference


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Return pixels in float64."""
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("height", "width", "classes"), [(6, 9, 2), (1, 1, 1), (1, 12, 3), (20, 3, 1)])
def test_it_is_the_transcription(height, width, classes):
    pixels, maps = photo(height, width), photo(height, width, seed=1)[:classes]
    expected = reference.pamr(pixels.numpy(), maps.numpy(), 3)
    np.testing.assert_allclose(pamr(pixels, maps, iterations=3).numpy(), expected, rtol=0, atol=1e-9)


def test_a_photo_of_one_colour_blurs_evenly():
    assert neighbour_weights(torch.full((3, 4, 5), 0.5)).allclose(torch.tensor(1 / 32))


def test_a_map_fills_its_side_of_an_edge_and_stops_there():
    pixels = torch.zeros(3, 24, 24)
    pixels[:, :, 12:] = 1
    maps = torch.zeros(1, 24, 24)
    maps[:, 8:16, 4:14] = 1  # two columns lie beyond the edge
    settled = pamr(pixels, maps)[0]
    assert settled[10, 11] > 3 * settled[10, 12]
    blurred = pamr(torch.zeros_like(pixels), maps)[0]
    assert blurred[10, 11] < 1.1 * blurred[10, 12]  # it is the edge that does it


def test_weights_sum_to_one_so_that_even_maps_stay_and_values_keep_their_range():
    pixels, maps = photo(9, 7), photo(9, 7, seed=1)
    torch.testing.assert_close(neighbour_weights(pixels).sum(dim=-1), torch.ones(9, 7, dtype=torch.float64))
    even = torch.full((1, 9, 7), 0.3, dtype=torch.float64)
    torch.testing.assert_close(pamr(pixels, even), even)
    assert pamr(pixels, maps).max() <= maps.max()
    assert pamr(pixels, maps).min() >= maps.min()
    assert pamr(pixels, maps[:0]).shape == (0, 9, 7)


def test_brightness_and_contrast_do_not_matter():
    pixels, maps = photo(9, 7), photo(9, 7, seed=1)
    torch.testing.assert_close(pamr(0.2 + 0.5 * pixels, maps), pamr(pixels, maps), rtol=0, atol=1e-5)
