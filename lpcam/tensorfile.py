"""A file of tensors that says what it is: one safetensors file, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.files import sweep, write_atomically

Tensors = dict[str, Tensor]
Content = TypeVar("Content")


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
        write_atomically(Path(path), lambda partial: save_file(tensors, partial, {self.key: description}))

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
            with safe_open(path, framework="pt") as file:
                description = json.loads((file.metadata() or {})[self.key])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return unpack(tensors, description)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise LpcamError(
                f"{path} is not a whole lpcam {self.name} ({_first_line(error)}): "
                f"run '{self.command} --overwrite' to make it again"
            ) from error


def identity(tensors: Tensors, description: str) -> str:
    """Return the SHA-256 over the description, and names and bytes of the tensors."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
