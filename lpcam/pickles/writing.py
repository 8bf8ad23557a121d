"""The writer: the names old versions of NumPy and torch know, and bytes that depend on the values alone."""

from __future__ import annotations

import functools
import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lpcam.files import write_atomically
from lpcam.pickles.values import is_tensor, torch_rebuild

if TYPE_CHECKING:
    from torch import Tensor

_SCALARS = (type(None), bool, int, float, str)


def save_dictionary(path: Path, content: dict[Any, Any]) -> None:
    """Write a dictionary that readers from NumPy 1.19 and torch 1.8 on load, atomically.

    The file has a version 1.0 npy header and a protocol-4 pickle that says ``numpy.core``, the name every
    NumPy knows, in place of NumPy 2's ``numpy._core``. Tensors are written detached, from the CPU and with
    their own elements only, never the storage they are a view of. The bytes depend on nothing but the values
    (and the order of the dictionary).

    Args:
        path: The file to be made, with its suffix.
        content: Keys and values made of None, bool, int, float, str, list, tuple, dict, NumPy arrays
            and scalars without objects, and dense torch tensors.

    Raises:
        TypeError: a value of another type.
        LpcamError: the file cannot be written.
    """
    if type(content) is not dict:
        raise TypeError(f"expected a dict, got {type(content).__name__}")
    holder = np.empty((), dtype=object)
    holder[()] = _plain(content)
    write_atomically(path, functools.partial(_write, holder=holder))


def _plain(value: object) -> object:
    """Return ``value`` with arrays and tensors dense and in C order, so that equal values give equal bytes."""
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    if is_tensor(value):
        return _plain_tensor(value)
    if type(value) in _SCALARS or (isinstance(value, np.generic) and not value.dtype.hasobject):
        return value
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return np.asarray(value, order="C")
    raise TypeError(f"expected numbers, strings, arrays, tensors and containers of them, got {type(value)}")


def _plain_tensor(tensor: Any) -> Tensor:
    import torch

    if tensor.layout != torch.strided or tensor.dtype not in _storage_types():
        raise TypeError(f"expected a dense tensor of real numbers, got {tensor.layout} of {tensor.dtype}")
    plain: Tensor = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return plain


def _storage_types() -> dict[object, type]:
    import torch

    return {
        torch.float64: torch.DoubleStorage,
        torch.float32: torch.FloatStorage,
        torch.float16: torch.HalfStorage,
        torch.bfloat16: torch.BFloat16Storage,
        torch.int64: torch.LongStorage,
        torch.int32: torch.IntStorage,
        torch.int16: torch.ShortStorage,
        torch.int8: torch.CharStorage,
        torch.uint8: torch.ByteStorage,
        torch.bool: torch.BoolStorage,
    }


def _write(path: Path, holder: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        _OldNamesPickler(file, protocol=4).dump(holder)


class _OldNamesPickler(pickle._Pickler):
    """A pickler that calls NumPy's modules by the names that old and new versions know.

    The written-in-C pickler takes a function's module from the function and offers no say; the one written
    in Python, from which joblib's derives too, does.
    """

    save: Callable[[object], None]
    write: Callable[[bytes], object]

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol=protocol)
        # No memo: whether two equal values are the same object must not show in the bytes.
        self.fast = True

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write the name of a function or type."""
        self.save(obj.__module__.replace("numpy._core", "numpy.core"))
        self.save(name or obj.__qualname__)
        self.write(pickle.STACK_GLOBAL)

    def reducer_override(self, obj: Any) -> Any:
        """Write tensors as torch's own pickles do, but with bytes that do not change from run to run."""
        return _reduce_tensor(obj) if is_tensor(obj) else NotImplemented


def _reduce_tensor(tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[object, ...]]:
    storage = _Storage(_storage_bytes(tensor))
    layout = (0, tuple(tensor.shape), tensor.stride())  # offset, size, stride
    no_hooks: OrderedDict[str, object] = OrderedDict()
    return torch_rebuild(), (storage, *layout, False, no_hooks)


class _Storage:
    """Stands for a torch storage in a pickle: loading it calls ``torch.storage._load_from_bytes(data)``."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> tuple[Callable[..., object], tuple[bytes]]:
        from torch.storage import _load_from_bytes

        load: Callable[..., object] = _load_from_bytes
        return load, (self._data,)


def _storage_bytes(tensor: Tensor) -> bytes:
    """Write a contiguous tensor's storage in torch's first file format, the only one old versions read here.

    ``torch.save`` would do, were it not for the key it gives a storage: its address in memory.
    """
    import torch

    key = "0"
    file = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": _TORCH_PROTOCOL, "little_endian": True, "type_sizes": sizes}
    for part in (_TORCH_MAGIC, _TORCH_PROTOCOL, system):
        pickle.dump(part, file, protocol=2)
    kind = _storage_types()[tensor.dtype]
    _PersistentPickler(file, protocol=2).dump(("storage", kind, key, "cpu", tensor.numel(), None))
    pickle.dump([key], file, protocol=2)
    file.write(struct.pack("<q", tensor.numel()))
    file.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return file.getvalue()


_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_TORCH_PROTOCOL = 1001  # torch.serialization.PROTOCOL_VERSION


class _PersistentPickler(pickle.Pickler):
    """Writes a tuple as a persistent id, the way torch refers to storages."""

    def persistent_id(self, obj: object) -> object:
        """Return what stands for ``obj``."""
        return obj if isinstance(obj, tuple) else None
