"""Dictionaries in ``.npy`` files: the field's file format, read without trust and written for old readers.

IRN-style repositories keep labels and activation maps as ``np.save(path, {...})``: the npy header of a
0-d object array, then a pickle of that array. Reading such a file with ``np.load(allow_pickle=True)`` runs
whatever code it asks for; NumPy ≥ 2 writes module names that NumPy < 1.26 cannot import. This file owns
both sides of the format.
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np

from lpcam.errors import LpcamError
from lpcam.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

_SCALARS = (type(None), bool, int, float, str)
_ALWAYS, _TIMES = 2**26, 4  # what a file may unpack to: bytes, and times its own


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


def require_extent(content: object, size: int) -> None:
    """Refuse what a file unpacks to where it is far more than the file, or without end.

    Args:
        content: Containers, arrays, tensors, numbers and strings.
        size: Of the file in bytes.

    Raises:
        ValueError: what is shared makes it more than four times the file and 64 MB, or it holds itself.
    """
    if _extent(content) > max(_ALWAYS, _TIMES * size):
        raise ValueError(f"unpacks to far more than the {size} bytes it has, or holds itself")


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


# ------------------------------------------------------------------------------------------ reading


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


def _extent(content: object) -> int:
    """Return how much there is when everything that is shared counts as often as it is reached.

    A list of ten lists of ten lists … is small in memory and without end for whoever makes an array of it. What holds
    itself has no end at all. Numbers count 1, strings their letters, arrays and tensors their bytes.
    """
    known: dict[int, int] = {}
    waiting: list[tuple[Any, list[Any] | None]] = [(content, None)]
    while waiting:
        value, inner = waiting.pop()
        if inner is not None:
            known[id(value)] = 1 + sum(known[id(each)] for each in inner)
        elif id(value) not in known:
            inner = _inner(value)
            if inner is None:
                known[id(value)] = _size(value)
                continue
            known[id(value)] = sys.maxsize  # until it is known: of what holds itself
            waiting.append((value, inner))
            waiting += [(each, None) for each in inner if id(each) not in known]
    return known[id(content)]


def _inner(value: Any) -> list[Any] | None:
    """Return what a container holds; None for anything else."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        objects: list[Any] = value.reshape(-1).tolist()
        return objects
    return None


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return max(value.nbytes, value.size)
    if _is_tensor(value):
        return int(value.numel()) * int(value.element_size())
    return max(1, len(value)) if isinstance(value, str | bytes) else 1


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


def _torch_rebuild() -> Callable[..., Tensor]:
    from torch._utils import _rebuild_tensor_v2

    rebuild: Callable[..., Tensor] = _rebuild_tensor_v2
    return rebuild


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
        return _torch_rebuild()(storage, offset, size, stride, False, OrderedDict())

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


# ------------------------------------------------------------------------------------------ writing


def _plain(value: object) -> object:
    """Return ``value`` with arrays and tensors dense and in C order, so that equal values give equal bytes."""
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    if _is_tensor(value):
        return _plain_tensor(value)
    if type(value) in _SCALARS or (isinstance(value, np.generic) and not value.dtype.hasobject):
        return value
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return np.asarray(value, order="C")
    raise TypeError(f"expected numbers, strings, arrays, tensors and containers of them, got {type(value)}")


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


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
        return _reduce_tensor(obj) if _is_tensor(obj) else NotImplemented


def _reduce_tensor(tensor: Tensor) -> tuple[Callable[..., Tensor], tuple[object, ...]]:
    storage = _Storage(_storage_bytes(tensor))
    layout = (0, tuple(tensor.shape), tensor.stride())  # offset, size, stride
    no_hooks: OrderedDict[str, object] = OrderedDict()
    return _torch_rebuild(), (storage, *layout, False, no_hooks)


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
