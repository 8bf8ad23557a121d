"""What the training of SIPE or CPAL adds to a classifier, and where its checkpoint keeps it.

side1.weight … side4.weight    SIPE's 1×1 convolutions of the levels, [D_l, C_l, 1, 1]; also in its published files
positiveness.weight            W of CPAL's learned metric, [d, C]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lpcam.backbones.checkpoints import Tensors, finite
from lpcam.errors import LpcamError

_SIDE = "side{}.weight"
_POSITIVENESS = "positiveness.weight"
_OURS = re.compile(r"side\d+\.weight|positiveness\.weight")


@dataclass(frozen=True)
class Extras:
    """Matrices beside the network.

    Attributes:
        sides: float32 [D_l, C_l] of every level, see `lpcam.methods.iscam.hierarchy`; empty without SIPE.
        positiveness: float32 [d, C], see `lpcam.methods.pacam.positiveness`; None without it.
    """

    sides: tuple[Tensor, ...] = ()
    positiveness: Tensor | None = None

    def tensors(self) -> Tensors:
        """Return them by the names of a checkpoint, as 1×1 convolutions where they are sides."""
        sides = {_SIDE.format(index): side[:, :, None, None] for index, side in enumerate(self.sides, 1)}
        return sides if self.positiveness is None else {**sides, _POSITIVENESS: self.positiveness}


def without_extras(tensors: Tensors) -> Tensors:
    """Return the tensors that belong to the classifier itself."""
    return {name: tensor for name, tensor in tensors.items() if not _OURS.fullmatch(name)}


def extras_of(tensors: Tensors, channels: Sequence[int], source: str) -> Extras:
    """Return what a checkpoint holds for levels of so many channels.

    Args:
        tensors: By the checkpoint's names.
        channels: C_l of every level; the last is C.
        source: Where they come from, for messages.

    Raises:
        LpcamError: there are sides for some levels only, a shape does not fit, or a value is not finite.
    """
    sides = [tensors[name] for name in (_SIDE.format(index + 1) for index in range(len(channels))) if name in tensors]
    if sides and len(sides) != len(channels):
        raise LpcamError(f"{source} has {len(sides)} side convolutions for {len(channels)} levels: is --arch right?")
    widths = zip(sides, channels, strict=bool(sides))
    positiveness = tensors.get(_POSITIVENESS)
    return Extras(
        tuple(_matrix(side, width, f"side{index} of {source}") for index, (side, width) in enumerate(widths, 1)),
        None if positiveness is None else _matrix(positiveness, channels[-1], f"the positiveness of {source}"),
    )


def _matrix(tensor: Tensor, columns: int, source: str) -> Tensor:
    if tensor.numel() == 0 or tensor[0].numel() != columns or not tensor.is_floating_point():
        raise LpcamError(f"{source} is {list(tensor.shape)}, for {columns} channels: is --arch right?")
    return finite(tensor.reshape(len(tensor), columns).float(), source)
