"""propagation: the settings, and maps from all scales to both sizes."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
import torch
from torchvision import models

from lpcam import crf
from lpcam.errors import LpcamError
from lpcam.propagation import EDGES, Propagation, Scene, Walk, without_floor
from lpcam.sources import ClassifierSource
from lpcam.views import merge_scales, normalise
from tests.reference import propagation as reference

SIZE = (37, 50)


def maps_of(classes: int, *grids: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    """Return maps of every scale."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(classes, *grid, generator=generator) for grid in grids]


def levels_of(*shapes: tuple[int, int, int], seed: int = 1) -> list[torch.Tensor]:
    """Return features of every level, finest first."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


LEVELS = levels_of((2, 12, 16), (3, 6, 8), (4, 3, 4), (5, 3, 4))
PIXELS = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(2))


def merged(propagation: Propagation, maps: list[torch.Tensor], labels: tuple[int, ...], epsilon: float = 0.0):
    """Merge as the generate room does."""
    return propagation.merge(maps, labels, SIZE, epsilon, propagation.scene(LEVELS, PIXELS))


def test_nothing_is_the_published_merge_to_the_bit():
    maps = maps_of(2, (3, 4), (2, 2))
    found, published = merged(Propagation(), maps, (1, 3), 1e-5), merge_scales(maps, (1, 3), SIZE, 1e-5)
    assert torch.equal(found.strided, published.strided)
    assert torch.equal(found.high_res, published.high_res)
    assert not Propagation()
    assert Propagation().as_json() == {}
    assert Propagation().scene(LEVELS, PIXELS) == Scene()


@pytest.mark.parametrize("classes", [1, 3])
def test_the_walk_is_the_dense_one_on_the_summed_maps(classes):
    """All scales are resized to the last level but one, summed, made 1 at the peak, walked, less the floor."""
    maps = maps_of(classes, (3, 4))
    walk = Walk(power=3.0, restart=0.1, steps=4)
    found = merged(Propagation(walk), maps, tuple(range(classes)))
    dense = reference.affinities([LEVELS[2].double().numpy(), LEVELS[1].double().numpy()], 3.0)
    start = maps[0].double().numpy()
    walked = reference.walk(dense, start / start.max(axis=(1, 2), keepdims=True), min(0.5, 0.1 * classes**2), 4)
    walked -= walked.min(axis=(1, 2), keepdims=True)
    expected = merge_scales([torch.from_numpy(walked)], tuple(range(classes)), SIZE, 0.0)
    np.testing.assert_allclose(found.high_res.numpy(), expected.high_res.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.strided.numpy(), expected.strided.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("edges", [None, *EDGES])
@pytest.mark.parametrize("walk", [None, Walk()])
@pytest.mark.parametrize("classes", [0, 1, 3])
def test_both_sizes_within_0_and_1_with_a_peak_of_1(edges, walk, classes):
    if edges == "crf":
        pytest.importorskip("pydensecrf.densecrf", reason="the dense CRF is an extra")
    found = merged(Propagation(walk, edges), maps_of(classes, (3, 4), (5, 6)), tuple(range(classes)))
    assert found.strided.shape == (classes, 10, 13)
    assert found.high_res.shape == (classes, *SIZE)
    for maps in (found.strided, found.high_res):
        assert bool((maps >= 0).all())
        assert maps.flatten(1).amax(dim=1).tolist() == pytest.approx([1] * classes)


def test_the_crf_takes_the_maps_and_their_background_with_irns_settings():
    pytest.importorskip("pydensecrf.densecrf", reason="the dense CRF is an extra")
    maps = maps_of(2, (3, 4))
    plain, found = merged(Propagation(), maps, (0, 1)), merged(Propagation(edges="crf"), maps, (0, 1))
    scores = torch.cat([1 - plain.high_res.amax(dim=0, keepdim=True), plain.high_res]).numpy()
    photo = (PIXELS.numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)
    expected = torch.from_numpy(crf.crf_of_scores(photo, scores, crf.IRN))[1:]
    peaks = expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(found.high_res, expected / peaks, rtol=0, atol=1e-5)
    assert found.strided.shape == plain.strided.shape


@pytest.mark.parametrize("propagation", [Propagation(Walk(), "pamr"), Propagation(Walk())])
def test_zero_and_even_maps_stay_zero_and_even(propagation):
    zero, even = torch.zeros(1, 3, 4), torch.full((1, 3, 4), 0.2)
    found = merged(propagation, [torch.cat([zero, even])], (0, 1))
    assert found.high_res[0].eq(0).all()
    assert found.strided[0].eq(0).all()
    assert found.high_res[1].allclose(torch.tensor(1.0))
    assert found.strided[1].allclose(torch.tensor(1.0))


def test_a_photo_of_one_pixel():
    propagation = Propagation(Walk(), "pamr")
    scene = propagation.scene(levels_of((3, 1, 1), (4, 1, 1)), torch.rand(3, 1, 1))
    found = propagation.merge([torch.full((1, 1, 1), 0.3)], (2,), (1, 1), 1e-5, scene)
    assert found.high_res.tolist() == [[[pytest.approx(1)]]]
    assert found.strided.tolist() == [[[pytest.approx(1)]]]


def test_a_network_of_one_level_walks_on_its_features():
    level = levels_of((4, 3, 4))[0]
    ground = Walk(power=2.0).ground([level])
    assert ground.grid == (3, 4)
    assert ground.vectors.shape == (12, 5)
    assert Walk(levels=1).ground(LEVELS).vectors.shape == (12, 5)
    assert Walk().ground(LEVELS).vectors.shape == (12, 9)
    assert Walk(levels=3).ground(LEVELS).vectors.shape == (12, 12)


@pytest.mark.parametrize(
    ("arch", "channels"),
    [
        ("torchvision/mobilenet_v2", (96, 32)),
        ("torchvision/resnet18", (256, 128)),
        ("torchvision/efficientnet_b0", (112, 40)),
        ("torchvision/convnext_tiny", (384, 192)),
        ("torchvision/densenet121", (1024, 512)),
        ("torchvision/vit_b_16", (768,)),
    ],
)
def test_every_family_walks_on_stride_16_and_looks_at_stride_8_too(arch, channels):
    """A network of one stride walks on its features."""
    name = arch.partition("/")[2]
    network = models.get_model(name, weights=None).state_dict()
    with NamedTemporaryFile(suffix=".pth") as file:
        torch.save(network, file.name)
        net = ClassifierSource(arch, Path(file.name), stride=16).load(1000, "cpu")
    side = 224 if "vit" in arch else 64
    with torch.inference_mode():
        levels = [level[0] for level in net.levels(torch.rand(1, 3, side, side))]
    ground = Walk(power=2.0).ground(levels)
    assert ground.grid == (side // 16, side // 16)
    assert ground.vectors.shape[1] == sum(channels) + len(channels)


def test_more_classes_walk_less():
    level, single = LEVELS[2], maps_of(1, (3, 4))[0]
    walk = Walk(restart=0.1, floor=False)
    ground = walk.ground([level])
    alone, crowded = walk.carry(single, ground), walk.carry(single.expand(3, 3, 4), ground)[:1]
    start = normalise(single)
    assert (crowded - start).abs().sum() < (alone - start).abs().sum()
    assert (
        Walk(restart=1.0).carry(single, ground).equal(normalise(without_floor(single)))
    )  # the bound of .5 is no bound to it


def test_the_floor_is_taken_off_what_says_something():
    maps = torch.tensor([[[0.2, 0.7]], [[0.3, 0.3]], [[0.3, 0.30001]], [[0.0, 0.0]]])
    assert without_floor(maps).flatten().tolist() == pytest.approx([0, 0.5, 0.3, 0.3, 0.3, 0.30001, 0, 0])
    assert without_floor(maps[:0]).shape == (0, 1, 2)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"neighbours": 0.0}, "propagate-neighbours"),
        ({"neighbours": 1.0}, "propagate-neighbours"),
        ({"power": 0.0}, "propagate-power"),
        ({"restart": 1.1}, "propagate-restart"),
        ({"steps": -1}, "propagate-steps"),
        ({"levels": 0}, "propagate-levels"),
        ({"levels": 4}, "propagate-levels"),
        ({"positions": 0}, "propagate-positions"),
    ],
)
def test_what_cannot_be_walked_is_refused_by_its_option(wrong, named):
    with pytest.raises(LpcamError, match=f"^{named} is .*: choose "):
        Walk(**wrong)


def test_unknown_edges_and_a_missing_crf_are_refused_at_once(monkeypatch):
    with pytest.raises(LpcamError, match="did you mean 'pamr'"):
        Propagation(edges="pamrr")

    def missing() -> None:
        raise LpcamError("the dense CRF needs pydensecrf2")

    monkeypatch.setattr(crf, "require_crf", missing)
    with pytest.raises(LpcamError, match="pydensecrf2"):
        Propagation(edges="crf")


def test_what_made_the_maps_is_told():
    told = Propagation(Walk(restart=0.2), "pamr").as_json()
    assert told["edges"] == "pamr"
    assert told["walk"]["restart"] == 0.2


@pytest.mark.parametrize("grid", [(24, 32), (94, 125), (1, 9000), (9000, 1)])
def test_a_large_photo_walks_on_a_grid_of_its_shape_that_fits(grid):
    walk = Walk(power=2.0, steps=1)
    ground = walk.ground([torch.rand(2, *grid), torch.rand(3, 1, 1)])
    height, width = ground.grid
    assert len(ground.vectors) == height * width <= walk.positions
    assert (ground.grid == grid) == (grid == (24, 32))
    assert height * width > 0.9 * min(walk.positions, grid[0] * grid[1])


def test_a_coarser_grid_gives_nearly_the_same_map():
    blob = torch.zeros(2, 20, 20)
    blob[0, 4:12, 4:12] = 1
    blob[1] = 1 - blob[0]
    start = torch.zeros(1, 20, 20)
    start[0, 6:8, 6:8] = 1
    fine, coarse = (
        Propagation(walk).merge([start], (0,), (80, 80), 0.0, Propagation(walk).scene([blob, blob], PIXELS)).high_res
        for walk in (Walk(power=2.0), Walk(power=2.0, positions=100))
    )
    assert (fine - coarse).abs().mean() < 0.05


@pytest.mark.gpu
def test_cuda_agrees():
    propagation, maps = Propagation(Walk(), "pamr"), maps_of(2, (3, 4))
    here = merged(propagation, maps, (0, 1))
    scene = propagation.scene([level.cuda() for level in LEVELS], PIXELS.cuda())
    there = propagation.merge([entry.cuda() for entry in maps], (0, 1), SIZE, 0.0, scene)
    torch.testing.assert_close(there.high_res.cpu(), here.high_res, rtol=0, atol=1e-4)
