"""The restricted reader: data is rebuilt and nothing else, in bounded memory."""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np

from lpcam.errors import LpcamError
from lpcam.pickles.values import require_extent, torch_rebuild

if TYPE_CHECKING:
    from torch import Tensor


def load_dictionary(path: Path) -> dict[Any, Any]:
    """Read the dictionary of a ``.npy`` file without running code from it.

    Only NumPy arrays and scalars, torch tensors (put on the CPU) and Python's own containers, numbers and
    strings are rebuilt. torch is imported only when the file holds a tensor.

    Args:
        path: A file as ``np.save(path, dictionary)`` or `save_dictionary` writes it.

    Raises:
        LpcamError: the file is missing, damaged, holds something else, or asks for a function that is
            not needed to rebuild data.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels.npy"
    >>> np.save(path, {2007000063: np.array([0, 1, 1])}, allow_pickle=True)
    >>> load_dictionary(path)
    {2007000063: array([0, 1, 1])}
    """
    try:
        data = path.read_bytes()  # whole, so that nothing is made room for that the file does not have
    except OSError as error:
        raise LpcamError(f"cannot read {path} ({error.strerror or error}): check the path") from error
    file = io.BytesIO(data)
    _check_header(file, path)
    value = _unpickle(file, path)
    if not (isinstance(value, np.ndarray) and value.shape == () and isinstance(value.item(), dict)):
        raise LpcamError(f"{path} holds no dictionary: expected a file made by np.save(path, dictionary)")
    content: dict[Any, Any] = value.item()
    try:
        require_extent(content, len(data))
    except ValueError as error:
        raise LpcamError(f"{path} {error}: save its numbers anew with np.save or as a CSV") from error
    return content


def _check_header(file: IO[bytes], path: Path) -> None:
    """Leave ``file`` behind the npy header of a 0-d object array."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise LpcamError(
            f"{path} is not a .npy file of version 1.0 or 2.0 ({_one_line(error)}): "
            "get it again, or write it with np.save(path, dictionary)"
        ) from error
    if dtype != np.dtype(object) or shape != ():
        raise LpcamError(
            f"{path} holds an array of {dtype} with shape {shape}, not a dictionary: "
            "expected a file made by np.save(path, dictionary)"
        )


def _unpickle(file: IO[bytes], path: Path) -> object:
    try:
        return _DataUnpickler(file, path).load()
    except LpcamError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; it never runs code of its own
        raise LpcamError(
            f"{path} is damaged ({type(error).__name__}: {_one_line(error)}): get it again from its source"
        ) from error


class _DataUnpickler(pickle._Unpickler):
    """An unpickler that rebuilds data and nothing else.

    A list of allowed names is not enough: a pickle may also set the state of what it has made, and a dtype
    of objects whose flags deny it turns a string's bytes into pointers. So states are checked too, which
    only the unpickler written in Python lets us do.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="latin1")  # as NumPy asks for files written by Python 2
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return the function behind a global name of the pickle, if it only rebuilds data."""
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key in _TORCH:
            return _TORCH[key]()
        if key in _REBUILDERS:
            return _REBUILDERS[key]
        raise self._refusal(f"{module}.{name}")

    def load_build(self) -> None:
        """Set the state of an array or a dtype."""
        state = self.stack.pop()
        built = self.stack[-1]
        if isinstance(built, np.dtype):
            # What NumPy itself makes of this name; only the byte order is free.
            own_state = tuple(np.dtype(built.str).__reduce__())[2]
            if type(state) is not tuple or state[2:] != own_state[2:]:
                raise self._refusal("a forged dtype")
        elif type(built) is np.ndarray:
            _check_array_state(state)
        else:
            raise self._refusal(f"the state of a {type(built).__name__}")
        built.__setstate__(state)

    def load_setitem(self) -> None:
        """Put one entry into a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key], [value])

    def load_setitems(self) -> None:
        """Put entries into a dictionary."""
        entries = self.pop_mark()
        _put(self.stack[-1], entries[::2], entries[1::2])

    def load_dict(self) -> None:
        """Make a dictionary."""
        entries = self.pop_mark()
        made: dict[Any, Any] = {}
        _put(made, entries[::2], entries[1::2])
        self.append(made)

    def load_additems(self) -> None:
        """Put values into a set."""
        values = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise TypeError(f"a set that is a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(_hashed(values))

    def load_frozenset(self) -> None:
        """Make a frozen set."""
        values = self.pop_mark()  # which changes what append is
        self.append(frozenset(_hashed(values)))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
    }

    def _refusal(self, what: str) -> LpcamError:
        return LpcamError(
            f"{self._path} asks for {what!r}, which is not data; nothing of it was run: "
            "use the file only if you trust its source, and save its numbers anew with np.save or as a CSV"
        )


def _put(made: object, keys: list[Any], values: list[Any]) -> None:
    if type(made) not in (dict, OrderedDict):
        raise TypeError(f"a dictionary that is a {type(made).__name__}")
    made.update(zip(_hashed(keys), values, strict=True))  # type: ignore[attr-defined]


def _hashed(values: Iterable[Any]) -> list[Any]:
    """Return values that are hashed; not tuples in tuples, whose hash takes a process down when they are deep."""
    listed = list(values)
    for value in listed:
        inner = value if isinstance(value, tuple | frozenset) else (value,)
        if any(isinstance(each, tuple | frozenset) for each in inner):
            raise TypeError("a key that holds tuples")
    return listed


def _check_array_state(state: Any) -> None:
    """Refuse an array of objects that is larger than what is there to fill it, or that holds such arrays."""
    _, shape, dtype, _, content = state
    if not isinstance(dtype, np.dtype) or not dtype.hasobject:
        return
    if not isinstance(content, list) or math.prod(shape) != len(content) or min(shape, default=0) < 0:
        raise ValueError(f"an array of objects of shape {shape} made of fewer or more")
    if any(isinstance(each, np.ndarray) and each.dtype.hasobject for each in content):
        raise ValueError("arrays of objects in one another")


def _set(values: Iterable[Any] = ()) -> set[Any]:
    return set(_hashed(values))


def _frozenset(values: Iterable[Any] = ()) -> frozenset[Any]:
    return frozenset(_hashed(values))


def _ordered(pairs: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
    entries = [(key, value) for key, value in pairs]
    _hashed(key for key, _ in entries)
    return OrderedDict(entries)


def _rebuild_array(*_: object) -> np.ndarray[Any, Any]:
    return np.zeros(0, np.uint8)  # its state follows


def _rebuild_dtype(name: str, *_: object) -> np.dtype[Any]:
    dtype = np.dtype(str(name), copy=True)  # its byte order follows
    if dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"structured dtype {dtype}")
    return dtype


def _rebuild_scalar(dtype: np.dtype[Any], data: bytes) -> object:
    if dtype.hasobject:
        raise ValueError("a scalar of objects")
    return _SCALAR(dtype, data)


def _rebuild_from_buffer(data: bytes | bytearray, *layout: object) -> object:
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"a buffer of {type(data).__name__}")
    return _FROM_BUFFER(data, *layout)


def _torch_tensor() -> Callable[..., Tensor]:
    """Return what makes a tensor of a storage; torch's own makes the storage larger where it is too small."""
    from torch.storage import TypedStorage

    def rebuild(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
        if not isinstance(storage, TypedStorage) or len(size) != len(stride):
            raise TypeError("a tensor without a storage")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        numbers = int(storage._size())  # type: ignore[no-untyped-call]  # len() warns
        if min((offset, *size, *stride)) < 0 or (0 not in size and last >= numbers):
            raise ValueError("a tensor beyond its storage")
        return torch_rebuild()(storage, offset, size, stride, False, OrderedDict())

    return rebuild


def _torch_storage() -> Callable[[bytes], object]:
    import torch

    def load(data: bytes) -> object:
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(storage, torch.storage.TypedStorage):
            raise TypeError(f"a storage that is a {type(storage).__name__}")
        return storage

    return load


# NumPy's own functions, whatever their modules are called.
_SCALAR: Callable[..., object] = next(iter(np.float32(0).__reduce__()))
_FROM_BUFFER: Callable[..., object] = next(iter(np.zeros(1).__reduce_ex__(5)))
_REBUILDERS: dict[tuple[str, str], Callable[..., object] | None] = {
    ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _rebuild_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _rebuild_array,
    ("numpy.core.multiarray", "scalar"): _rebuild_scalar,
    ("numpy.core.numeric", "_frombuffer"): _rebuild_from_buffer,
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
}
_TORCH: dict[tuple[str, str], Callable[[], Callable[..., object]]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _torch_tensor,
    ("torch.storage", "_load_from_bytes"): _torch_storage,
}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
