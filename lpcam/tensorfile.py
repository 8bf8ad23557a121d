"""A file of tensors that says what it is and carries its checksum: one safetensors file, written whole or not at all.

The metadata hold a description, a JSON object, under a key that tells kinds of files apart; in it ``sha256`` is the
`identity` of the rest of it and of the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.files import sweep, write_atomically

Tensors = dict[str, Tensor]
Content = TypeVar("Content")

_CHECKSUM = "sha256"
_BLOCK = 1 << 24  # bytes


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        key: Of the description in the file's metadata; it tells kinds apart.
        name: As a person calls it.
        command: That makes such a file.
    """

    key: str
    name: str
    command: str

    def save(self, path: Path | str, tensors: Tensors, description: str) -> None:
        """Write tensors and the description, JSON, atomically, and sweep the folder."""
        sweep(Path(path).parent)
        save(Path(path), tensors, self.key, description)

    def load(self, path: Path | str, unpack: Callable[[Tensors, dict[str, Any]], Content]) -> Content:
        """Return what ``unpack`` makes of the tensors and the description.

        Args:
            path: The file.
            unpack: May raise ValueError, KeyError or TypeError for content that is not what it should be.

        Raises:
            LpcamError: the file is missing, damaged or of another kind.
        """
        path = Path(path)
        if not path.is_file():
            raise LpcamError(f"{path} does not exist: run '{self.command}' first")
        try:
            if checksum_of(path, self.key):  # files from before there was one are read as they are
                require_checksum(path, self.key)
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return unpack(tensors, description_of(path, self.key))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise LpcamError(
                f"{path} is not a whole lpcam {self.name} ({_first_line(error)}): "
                f"run '{self.command} --overwrite' to make it again"
            ) from error


def save(path: Path, tensors: Tensors, key: str, description: str) -> None:
    """Write tensors, their description under ``key`` and the checksum of both, atomically.

    Raises:
        LpcamError: the folder cannot be written to, or the disk is full.
    """
    content = json.loads(description)
    content[_CHECKSUM] = identity(tensors, json.dumps(content, sort_keys=True))
    text = json.dumps(content, sort_keys=True)  # one entry: safetensors writes several in any order
    write_atomically(path, lambda partial: _save(tensors, partial, {key: text}))


def description_of(path: Path, key: str) -> dict[str, Any]:
    """Return the description of a file without the checksum; no tensor is read.

    Raises:
        KeyError: it has none of that key.
        OSError: it is missing.
        SafetensorError, TypeError, ValueError: it is damaged.
    """
    with safe_open(path, framework="pt") as file:
        return _split(file, key)[0]


def checksum_of(path: Path, key: str) -> str:
    """Return the checksum that a file says it has, or nothing; errors as `description_of`."""
    with safe_open(path, framework="pt") as file:
        return _split(file, key)[1]


def require_checksum(path: Path, key: str) -> None:
    """Read a file block by block and raise where it does not hold what it was written with.

    Raises:
        KeyError: it has no description of that key.
        OSError: it is missing.
        SafetensorError, TypeError: it is damaged.
        ValueError: its checksum does not hold, or it has none.
    """
    with safe_open(path, framework="pt") as file:
        content, checksum = _split(file, key)
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for name in sorted(file.keys()):
            digest.update(name.encode())
            for block in _blocks(file.get_slice(name)):
                digest.update(_bytes(block))
    if checksum != digest.hexdigest():
        raise ValueError("its checksum does not hold")


def require_kinds(tensors: Tensors, kinds: dict[str, tuple[torch.dtype, int]]) -> None:
    """Refuse a file whose tensors are not of the types and dimensions it was written with.

    Raises:
        KeyError: one is missing.
        ValueError: one is of another type or dimension.
    """
    for name, (dtype, dimensions) in kinds.items():
        if tensors[name].dtype != dtype or tensors[name].ndim != dimensions:
            raise ValueError(f"{name} of {tensors[name].dtype} {list(tensors[name].shape)}")


def identity(tensors: Tensors, description: str) -> str:
    """Return the SHA-256 over the description, and names and bytes of the tensors."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _split(file: Any, key: str) -> tuple[dict[str, Any], str]:
    """Return the description in an open file, and its checksum."""
    content = json.loads((file.metadata() or {})[key])
    if not isinstance(content, dict):
        raise TypeError("no description")
    checksum = content.pop(_CHECKSUM, "")
    return content, str(checksum)


def _save(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # a full disk, in words
        raise OSError(str(error).rpartition("I/O error: ")[2]) from error


def _bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy where they lie in a row."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _blocks(entry: Any) -> Iterator[Tensor]:
    """Yield a stored tensor by runs of its first dimension."""
    shape = entry.get_shape()
    if not shape or 0 in shape:
        yield entry[...] if not shape else torch.zeros(0, dtype=torch.uint8)
        return
    of_row = max(1, entry[:1].nbytes)
    step = max(1, _BLOCK // of_row)
    for first in range(0, shape[0], step):
        yield entry[first : first + step]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
