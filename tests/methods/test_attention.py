"""Attention on maps: by hand, by law, and from MCTformer's own blocks."""

import pytest
import torch

from lpcam.methods.attention import guide
from lpcam.records import Attention


def attention(grid=(1, 2), classes=2, seed=0) -> Attention:
    generator = torch.Generator().manual_seed(seed)
    cells = grid[0] * grid[1]
    return Attention(
        torch.rand(2, classes, *grid, generator=generator), torch.rand(2, cells, cells, generator=generator)
    )


def test_fuse_by_hand():
    to_patches = torch.tensor([[[[1.0, 2.0]], [[5.0, 6.0]]], [[[10.0, 20.0]], [[50.0, 60.0]]]])
    seen = Attention(to_patches, torch.zeros(2, 2, 2))
    assert guide(torch.tensor([[[1.0, 3.0]]]), seen, [1], "fuse").tolist() == [[[5 + 60, 3 * (6 + 50)]]]


def test_refine_by_hand():
    """A patch collects from those it attends to; the mirror's patches are numbered from the other side."""
    seen = Attention(torch.full((2, 1, 1, 2), 0.5), torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]]))
    assert guide(torch.tensor([[[1.0, 3.0]]]), seen, [0], "refine").tolist() == [[[1 + 2 * 3 + 4 * 1, 0]]]


@pytest.mark.parametrize("how", ["fuse", "refine"])
def test_a_mirrored_photo_gives_the_mirrored_map(how):
    seen = attention((3, 4))
    swapped = Attention(seen.to_patches.flip(0), seen.among_patches.flip(0))
    maps = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(guide(maps.flip(-1), swapped, [0, 1], how), guide(maps, seen, [0, 1], how).flip(-1))


def test_no_classes_and_the_images_of_a_batch():
    seen = attention((3, 4))
    assert guide(torch.zeros(0, 3, 4), seen, [], "refine").shape == (0, 3, 4)
    assert torch.equal(seen.of([1]).among_patches[0], seen.among_patches[1])
