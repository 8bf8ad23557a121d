"""Which architecture a checkpoint is of: the repositories name a Python module, which is never imported here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lpcam.backbones.checkpoints import read_checkpoint
from lpcam.backbones.loading import misfits, own_architectures, torchvision_names
from lpcam.errors import LpcamError

_RESNETS = "torchvision/resnet"


def recognise(path: Path) -> str:
    """Return the architecture whose names and shapes a checkpoint has.

    The repositories' own architectures are tried first, then torchvision's ResNets; a head of any number of classes, or
    none, is accepted. Others of torchvision are built too slowly to be tried one after the other.

    Args:
        path: A checkpoint file, see `lpcam.backbones.checkpoints.read_checkpoint`.

    Raises:
        LpcamError: the file cannot be read, or is of another architecture.
    """
    tensors = read_checkpoint(path)
    tried = []
    for arch in candidates():
        if not misfits(arch, tensors, str(path)):
            return arch
        tried.append(arch)
    raise LpcamError(
        f"cannot recognise the architecture of {path}, which begins with '{min(tensors)}' (tried {', '.join(tried)}): "
        "name it with --arch"
    )


def candidates() -> Iterator[str]:
    """Yield the architectures that can be recognised, in the order they are tried.

    torchvision is asked for its names, and imported, where none of the repositories' own was the right one.
    """
    yield from own_architectures()
    yield from (name for name in torchvision_names() if name.startswith(_RESNETS))
