"""Winograd's convolution F(4×4, 3×3): a fourth of the products of a 3×3 convolution, in large matrix products.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), for tiles of 6×6 that overlap by 2:

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A

    d   6×6 pixels of the input         g   the 3×3 kernel         Y   4×4 pixels of the output

The sum over the C channels of every one of the 36 products is a matrix product of all tiles at once, and that is where
nearly all of the time goes. G is in `_KERNEL`, Bᵀ in `_into_products`, Aᵀ in `_out_of_products`.

Departs from the paper: nothing but the order of the sums. Kernels are transformed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_TILE, _STEP = 6, 4  # pixels of a tile's side that are read, and that are written
_FLOATS = 2**22  # of a block of transformed tiles: some megabytes, which stay near the processor
_LEAST_TILES = 192  # of a block: fewer would read the kernels again for too little

_PART = 2**14  # numbers of every place of a kernel that are transformed at a time, in the cache
_LEAST_CHANNELS = 256  # with fewer the transformations cost what the products save

_KERNEL = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # 24 G


class WinogradConvolution(nn.Module):
    """A 3×3 convolution of stride 1 with a border of zeros, a sum with another grid, and a ReLU.

    Attributes:
        kernels: float32 [36, C, C'], transformed: six columns of six rows.
        bias: float32 [C'].
        relu: Whether a ReLU ends it.

    >>> conv = nn.Conv2d(2, 3, 3, padding=1)
    >>> grid = torch.arange(70.0).view(1, 2, 5, 7) / 70
    >>> with torch.no_grad():
    ...     torch.allclose(WinogradConvolution(conv, relu=True)(grid), conv(grid).relu(), atol=1e-5)
    True
    """

    kernels: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        """Take the weights of a convolution for which `applies` holds, or would but for its few channels."""
        super().__init__()
        weight = conv.weight.detach().permute(3, 2, 1, 0).reshape(9, -1)  # columns, rows, C, C'
        to_tiles = torch.tensor(_KERNEL, dtype=torch.float64) / 24
        transform = torch.kron(to_tiles, to_tiles)
        kernels = weight.new_empty(_TILE**2, weight.shape[1])
        for first in range(0, weight.shape[1], _PART):
            part = slice(first, first + _PART)
            kernels[:, part] = transform @ weight[:, part].double()
        self.register_buffer("kernels", kernels.view(-1, conv.in_channels, conv.out_channels))
        self.register_buffer("bias", torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach())
        self.relu = relu

    def forward(self, grid: Tensor, other: Tensor | None = None) -> Tensor:
        """Return float32 [N, C', h, w] in channels-last layout, of grids [N, C, h, w] and what is added to them."""
        count, _, height, width = grid.shape
        rows, columns = -(-height // _STEP), -(-width // _STEP)
        padded = _padded(grid, rows, columns)
        channels = self.kernels.shape[2]
        result = grid.new_empty(count, height, width, channels)
        added = None if other is None else other.permute(0, 2, 3, 1)
        for images, part in _blocks(count, rows, columns, max(padded.shape[3], channels)):
            pixels = slice(part.start * _STEP, min(part.stop * _STEP, height))
            tiles = padded[images, part.start * _STEP : part.stop * _STEP + _TILE - _STEP]
            block = self._convolved(tiles, part.stop - part.start, columns)[:, : pixels.stop - pixels.start, :width]
            if added is not None:
                block = block.add_(added[images, pixels])
            target = result[images, pixels]
            torch.clamp_min(block, 0, out=target) if self.relu else target.copy_(block)
        return result.permute(0, 3, 1, 2)

    def _convolved(self, grid: Tensor, rows: int, columns: int) -> Tensor:
        """Return [n, 4·rows, 4·columns, C'] of a bordered grid [n, 4·rows + 2, 4·columns + 2, C]."""
        image, row, column, _ = grid.stride()
        count, wide, channels = len(grid), grid.shape[2], grid.shape[3]
        lines = grid.as_strided((_TILE, count, rows, wide, channels), (row, image, _STEP * row, column, 1))
        lines = _into_products(lines)
        line, image, row, column, _ = lines.stride()
        places = (count, rows, columns, channels)
        tiles = _into_products(lines.as_strided((_TILE, _TILE, *places), (column, line, image, row, _STEP * column, 1)))
        products = torch.bmm(tiles.view(_TILE**2, -1, channels), self.kernels)
        found = products.view(_TILE, _TILE, count, rows, columns, -1)
        result = grid.new_empty(count, rows, _STEP, columns, _STEP, len(self.bias))
        _out_of_products(_out_of_products(found).transpose(0, 1), out=result.permute(2, 4, 0, 1, 3, 5))
        result += self.bias
        return result.view(count, _STEP * rows, _STEP * columns, -1)


def _into_products(pixels: Tensor) -> Tensor:
    """Return Bᵀ d along the first axis: [6, …] of [6, …]."""
    found = pixels.new_empty(pixels.shape)
    even, odd = pixels[4] - pixels[2], pixels[3] - pixels[1]
    torch.add(even, odd, alpha=2, out=found[3])
    torch.sub(even, odd, alpha=2, out=found[4])
    torch.add(even, pixels[0] - pixels[2], alpha=4, out=found[0])
    torch.sub(pixels[5] - pixels[3], odd, alpha=4, out=found[5])
    torch.sub(pixels[4], pixels[2], alpha=4, out=even)
    torch.sub(pixels[3], pixels[1], alpha=4, out=odd)
    torch.add(even, odd, out=found[1])
    torch.sub(even, odd, out=found[2])
    return found


def _out_of_products(products: Tensor, out: Tensor | None = None) -> Tensor:
    """Return Aᵀ m along the first axis: [4, …] of [6, …]."""
    found = products.new_empty(_STEP, *products.shape[1:]) if out is None else out
    near, near_odd = products[1] + products[2], products[1] - products[2]
    far, far_odd = products[3] + products[4], products[3] - products[4]
    torch.add(near, far, out=found[0])
    found[0] += products[0]
    torch.add(near_odd, far_odd, alpha=2, out=found[1])
    torch.add(near, far, alpha=4, out=found[2])
    torch.add(near_odd, far_odd, alpha=8, out=found[3])
    found[3] += products[5]
    return found


def applies(conv: nn.Conv2d) -> bool:
    """Return whether a convolution is one of those, with channels enough for it to pay.

    With few channels the transformations cost as much as the products that are saved.

    >>> applies(nn.Conv2d(256, 256, 3, padding=1)), applies(nn.Conv2d(256, 256, 3, padding=2, dilation=2))
    (True, False)
    """
    if min(conv.in_channels, conv.out_channels) < _LEAST_CHANNELS:
        return False
    form = (conv.kernel_size, conv.stride, conv.dilation, conv.padding, conv.groups, conv.padding_mode)
    return form == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def _padded(grid: Tensor, rows: int, columns: int) -> Tensor:
    """Return [N, 4·rows + 2, 4·columns + 2, C]: the grid within zeros."""
    count, channels, height, width = grid.shape
    border = _TILE - _STEP
    padded = grid.new_zeros(count, _STEP * rows + border, _STEP * columns + border, channels)
    padded[:, 1 : height + 1, 1 : width + 1] = grid.permute(0, 2, 3, 1)
    return padded


def _blocks(count: int, rows: int, columns: int, channels: int) -> list[tuple[slice, slice]]:
    """Return which images, and which rows of their tiles, are worked on at a time."""
    tiles = max(_FLOATS // (_TILE**2 * channels), _LEAST_TILES)
    height = min(max(tiles // columns, 1), rows)
    images = max(tiles // (rows * columns), 1) if height == rows else 1
    return [
        (slice(first, min(first + images, count)), slice(top, min(top + height, rows)))
        for first in range(0, count, images)
        for top in range(0, rows, height)
    ]
