"""Which architecture a checkpoint is of: the repositories name a Python module, which is never imported here."""

from __future__ import annotations

from pathlib import Path

from lpcam.backbones.checkpoints import Tensors, read_checkpoint
from lpcam.backbones.loading import known_architectures, misfit
from lpcam.errors import LpcamError

_RESNETS = "torchvision/resnet"


def recognise(path: Path) -> str:
    """Return the architecture whose names and shapes a checkpoint has.

    The repositories' own architectures are tried first, then torchvision's ResNets; a head of any number of classes, or
    none, is accepted. Others of torchvision are built too slowly to be tried one after the other.

    Args:
        path: A checkpoint file, see `lpcam.backbones.checkpoints.read_checkpoint`.

    Raises:
        LpcamError: the file cannot be read, or is of another architecture; it says what the nearest lacks.
    """
    tensors = read_checkpoint(path)
    complaints = {}
    for arch in _candidates():
        complaint = misfit(arch, tensors, str(path))
        if complaint is None:
            return arch
        complaints[arch] = complaint
    raise LpcamError(_unrecognised(path, tensors, complaints))


def _candidates() -> list[str]:
    names = known_architectures()
    return [name for name in names if "/" not in name] + [name for name in names if name.startswith(_RESNETS)]


def _unrecognised(path: Path, tensors: Tensors, complaints: dict[str, str]) -> str:
    first = next(iter(sorted(tensors)))
    tried = ", ".join(complaints)
    return f"cannot recognise the architecture of {path} (it begins with '{first}'; tried {tried}): name it with --arch"
