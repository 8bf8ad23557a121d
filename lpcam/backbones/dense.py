"""Output stride: the last stages made dense, as IRN does it to ResNet-50.

A network that halves its grid five times has stride 32. For stride s, every down-sampling that takes in a grid of
stride s or coarser gets stride 1, without dilation. What then shrinks the grid because its kernel has
no padding (the 2×2 pools of VGG and DenseNet, the 2×2 convolutions of ConvNeXt) sees the border repeated, so that the
grid keeps its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lpcam.backbones.probing import Shape, shapes_after

_PROBE = 512  # px


def make_dense(stages: Sequence[nn.Module], stride: int) -> None:
    """Give the network of ``stages`` at most this output stride; coarser down-samplings get stride 1.

    Args:
        stages: Modules in eval mode, applied one after the other; changed in place.
        stride: In px, a power of two.

    >>> stages = [nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.MaxPool2d(2)]
    >>> make_dense(stages, 4)
    >>> output_shape(stages)
    (4, 4)
    """
    for module, shape in _downsamplings(stages).items():
        if round(_PROBE / shape[2]) >= stride:
            _remove_stride(module, shape)


def output_shape(stages: Sequence[nn.Module]) -> tuple[int, int]:
    """Return (C, output stride in px) of modules in eval mode, without computing anything."""
    shape = _probe(stages)
    return shape[0], round(_PROBE / shape[2])


def _probe(stages: Sequence[nn.Module]) -> Shape:
    return shapes_after(stages, (3, _PROBE, _PROBE))[-1]


def _downsamplings(stages: Sequence[nn.Module]) -> dict[nn.Module, Shape]:
    """Return every strided convolution and pooling with the shape (C, h, w) of the grid it takes in."""
    found: dict[nn.Module, Shape] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[module] = tuple(inputs[0].shape[1:])

    strided = [module for stage in stages for module in stage.modules() if _is_strided(module)]
    hooks = [module.register_forward_pre_hook(note) for module in strided]
    try:
        _probe(stages)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _is_strided(module: nn.Module) -> bool:
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    return isinstance(module, kinds) and _square(module.stride) > 1


def _remove_stride(module: nn.Module, shape: Shape) -> None:
    options: Any = module
    options.stride = (1, 1) if isinstance(options.stride, tuple) else 1
    shrink = shape[2] - shapes_after([module], shape)[-1][2]
    if shrink > 0:
        before, after = shrink // 2, shrink - shrink // 2
        module.register_forward_pre_hook(partial(_repeat_border, before, after))


def _repeat_border(before: int, after: int, _module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return F.pad(inputs[0], (before, after, before, after), mode="replicate")


def _square(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]
