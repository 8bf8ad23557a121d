"""propagation.walk: by hand, by law, and against the dense transcription."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpcam.propagation.walk import calibrated_power, random_walk
from lpcam.propagation.walk import directions as directions_on
from tests.reference import propagation as reference


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return numbers of both signs in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(levels: list[torch.Tensor], grid: tuple[int, int] | None = None) -> torch.Tensor:
    """Return directions on the first level's grid, if no other is named."""
    return directions_on(levels, grid or (levels[0].shape[1], levels[0].shape[2]))


# By hand, two positions with cosine .6 and p = 2: a = 1 .36 / .36 1, A = .7353 .2647 / .2647 .7353.
# The map (1, 0) after a step with r = .5: .5 (.7353, .2647) + .5 (1, 0).
def test_a_step_on_paper():
    vectors = directions([torch.tensor([[[1.0, 3.0]], [[0.0, 4.0]]])])
    walked = random_walk(vectors, torch.tensor([[[1.0, 0.0]]]), power=2, restart=0.5, steps=1)
    near, far = 1 / 1.36, 0.36 / 1.36
    assert walked.tolist() == [[pytest.approx([0.5 * near + 0.5, 0.5 * far])]]


@pytest.mark.parametrize(
    ("channels", "height", "width", "classes"), [(6, 4, 5, 3), (3, 1, 1, 1), (1, 2, 3, 1), (5, 7, 2, 4)]
)
def test_it_is_the_dense_walk(channels, height, width, classes):
    levels = [random(channels, height, width), random(2, 2 * height + 1, 2 * width, seed=1)]
    levels[0][:, 0, 0] = 0
    maps = random(classes, height, width, seed=2).abs()
    walked = random_walk(directions(levels, (height, width)), maps, power=2.5, restart=0.1, steps=4)
    dense = reference.affinities([level.numpy() for level in levels], 2.5)
    np.testing.assert_allclose(walked.numpy(), reference.walk(dense, maps.numpy(), 0.1, 4), rtol=0, atol=1e-9)


def test_no_map_no_step_and_a_full_restart_change_nothing():
    vectors, maps = directions([random(3, 4, 5)]), random(2, 4, 5).abs()
    assert random_walk(vectors, maps[:0], power=2, restart=0.1, steps=3).shape == (0, 4, 5)
    assert torch.equal(random_walk(vectors, maps, power=2, restart=0.1, steps=0), maps)
    assert torch.equal(random_walk(vectors, maps, power=2, restart=1, steps=3), maps)


def test_even_maps_stay_and_no_value_leaves_the_range_of_the_map():
    vectors, maps = directions([random(3, 4, 5)]), random(2, 4, 5)
    even = torch.full((1, 4, 5), 0.3, dtype=torch.float64)
    torch.testing.assert_close(random_walk(vectors, even, power=4, restart=0.1, steps=9), even)
    walked = random_walk(vectors, maps, power=4, restart=0.1, steps=9)
    assert walked.max() <= maps.max()
    assert walked.min() >= maps.min()
    assert random_walk(vectors, torch.zeros(1, 4, 5, dtype=torch.float64), power=4, restart=0.1, steps=9).eq(0).all()


def test_the_length_of_features_does_not_matter():
    level, maps = random(3, 4, 5), random(2, 4, 5)
    lengths = random(1, 4, 5, seed=3).abs() + 0.1
    settings = {"power": 3, "restart": 0.1, "steps": 3}
    torch.testing.assert_close(
        random_walk(directions([level * lengths]), maps, **settings), random_walk(directions([level]), maps, **settings)
    )


def test_it_reaches_what_looks_alike_and_not_what_does_not():
    level = torch.zeros(2, 1, 4)
    level[0, 0, :2] = level[1, 0, 2:] = 1  # two things, orthogonal
    walked = random_walk(directions([level]), torch.tensor([[[1.0, 0, 0, 0]]]), power=1, restart=0.2, steps=50)[0, 0]
    assert walked[:2].tolist() == pytest.approx([0.6, 0.4])  # .8 of their mean, .2 of the start
    assert walked[2:].eq(0).all()


@pytest.mark.parametrize("neighbours", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("offset", [0.0, 2.0])
def test_the_power_gives_the_asked_share_of_neighbours_whatever_the_cosines(neighbours, offset):
    vectors = directions([random(4, 12, 10) + offset])  # an offset brings all cosines close to 1, as after a ReLU
    power = calibrated_power(vectors, neighbours)
    affinities = (vectors @ vectors.T).clamp(1e-6, 1) ** power
    share = (affinities.sum(1) ** 2 / (affinities**2).sum(1)).mean() / len(vectors)
    assert share.item() == pytest.approx(neighbours, rel=0.02)


def test_the_power_stays_in_its_range():
    alike, apart = torch.ones(2, 3, 3), torch.eye(9).view(9, 3, 3)
    assert calibrated_power(directions([alike]), 0.1) == pytest.approx(256, rel=0.02)
    assert calibrated_power(directions([apart]), 0.9) == pytest.approx(0.25, rel=0.02)
    assert calibrated_power(directions([torch.ones(2, 1, 1)]), 0.1) > 0


def test_a_finer_level_counts_half_of_the_one_before():
    coarse, fine = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.ones(1, 2, 4)
    vectors = directions([coarse, fine])  # cosines 0 and 1
    assert (vectors[0] @ vectors[1]).item() == pytest.approx(1 / 3)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1])
