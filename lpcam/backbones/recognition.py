"""Which architecture a checkpoint is of: the repositories name a Python module, which is never imported here."""

from __future__ import annotations

from pathlib import Path

from lpcam.backbones.checkpoints import read_checkpoint
from lpcam.backbones.loading import known_architectures, misfits
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
    tried = candidates()
    for arch in tried:
        if not misfits(arch, tensors, str(path)):
            return arch
    raise LpcamError(
        f"cannot recognise the architecture of {path}, which begins with '{min(tensors)}' (tried {', '.join(tried)}): "
        "name it with --arch"
    )


def candidates() -> tuple[str, ...]:
    """Return the architectures that can be recognised, in the order they are tried."""
    names = known_architectures()
    resnets = [name for name in names if name.startswith(_RESNETS)]
    return (*(name for name in names if "/" not in name), *resnets)
