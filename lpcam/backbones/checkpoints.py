"""Checkpoint files: strangers' tensors in, the network's own names out. Nothing is ever unpickled freely."""

from __future__ import annotations

import hashlib
import io
import math
import pickletools
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeGuard

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.pickles import require_extent

Tensors = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_SAVE_IT = "save it with torch.save(model.state_dict(), path)"
_REAL = frozenset(
    (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    + (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
)
_ARCHIVE = b"PK\x03\x04"
_PICKLES = 5  # in a file of torch's first format, before the numbers
_DEEPEST = 100


def read_checkpoint(path: Path) -> Tensors:
    """Read the tensors of a state dict.

    Wrappers (``{"state_dict": …}``, ``model``, ``net``) and prefixes (``module.``) are taken off; what is not
    a tensor is left out.

    Args:
        path: ``.safetensors``, or anything ``torch.load(weights_only=True)`` reads.

    Raises:
        LpcamError: no such file, not a checkpoint, no tensor in it, or a pickle that holds more than tensors
            (which is refused before any of it runs).
    """
    _require_file(path, "give --weights a checkpoint file, or the word imagenet")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    entries = [(key, value) for key, value in _unwrapped(content).items() if isinstance(value, Tensor)]
    tensors = {key: value for key, value in entries if isinstance(key, str) and is_plain(value)}
    if len(tensors) < len(entries):
        raise LpcamError(f"{path} holds tensors without a name, or that are no dense real numbers: {_SAVE_IT}")
    if not tensors:
        raise LpcamError(f"{path} holds no tensors: {_SAVE_IT}")
    return tensors


def load_torch(path: Path, *, mapped: bool = False) -> object:
    """Return what a file of ``torch.save`` holds: tensors, numbers and containers, and no more than the file has.

    ``torch.load(weights_only=True)`` runs no code, but a small file may still ask it for all memory there is: by a
    compressed archive, by a tensor of many places and one number, or by tuples so deep that their hash ends the process.

    Args:
        path: The file.
        mapped: Leave the tensors of an archive on the disk until they are asked for.

    Raises:
        OSError: it cannot be read.
        Exception: it is damaged, which shows in many ways, or asks for more than tensors or more than it has.
    """
    size, archive = path.stat().st_size, _is_archive(path)
    _require_shallow(path, archive, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the error says it in one line
        content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and archive)
    require_extent(content, size)
    return content


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Return whether a value is a dense tensor of real numbers on the CPU."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return value.dtype in _REAL and not value.is_nested


def canonical(tensors: Mapping[str, Tensor], rename: Callable[[str], str | None], source: str) -> Tensors:
    """Return the tensors under the network's own names.

    Args:
        tensors: By the checkpoint's names.
        rename: Takes one to the network's; None for a key to be ignored.
        source: For the message.

    Raises:
        LpcamError: two keys mean the same tensor and differ.

    >>> one = torch.ones(1)
    >>> canonical({"module.a": one, "old.a": one}, lambda key: key.removeprefix("old."), "x.pth")
    {'a': tensor([1.])}
    """
    origins: dict[str, str] = {}
    for key in sorted(tensors):
        name = rename(_without_prefixes(key))
        if name is None:
            continue
        first = origins.setdefault(name, key)
        if not _same(tensors[first], tensors[key]):
            raise LpcamError(
                f"{source} holds two different tensors for {name} ('{first}' and '{key}'): "
                "remove the one that is not meant and save it again"
            )
    return {name: tensors[key] for name, key in origins.items()}


def fit(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], source: str, arch: str) -> Tensors:
    """Return float32 tensors of exactly the wanted names and shapes; whole numbers (index tables) stay as they are.

    The matrix of a linear layer [O, I·k·k] is reshaped where the network has a convolution [O, I, k, k].

    Args:
        tensors: By canonical name.
        wanted: Shape by name; ``num_batches_tracked`` is neither wanted nor unexpected.
        source: Where they come from, for the message.
        arch: The architecture, for the message.

    Raises:
        LpcamError: keys are missing, unexpected or of another shape (all are counted), or a value is NaN or
            infinite.
    """
    shaped = _shaped(tensors, wanted)
    complaints = differences(tensors, wanted)
    if complaints:
        raise LpcamError(
            f"{source} does not fit {arch}: {'; '.join(complaints)}: "
            f"is --arch right? 'lpcam inspect {source}' says of which architecture it is"
        )
    return {name: _numbers(tensor, f"{name} of {source}") for name, tensor in shaped.items()}


def differences(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> list[str]:
    """Return how tensors differ from those wanted in names and shapes, in words; nothing where `fit` takes them."""
    shaped = _shaped(tensors, wanted)
    return [*_differing_names(shaped, wanted), *_differing_shapes(shaped, wanted)]


def class_weights(tensor: Tensor, source: str) -> Tensor:
    """Return a head's weights as float32 [K, C].

    Args:
        tensor: [K, C] or [K, C, 1, 1].
        source: For the message.

    Raises:
        LpcamError: another shape, or a value that is NaN or infinite.
    """
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor.flatten(1)
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise LpcamError(
            f"class weights of {source} have shape {list(tensor.shape)}, not [classes, channels]: "
            "give --head a matrix of that shape"
        )
    return finite(tensor, f"class weights of {source}")


def read_head(path: Path) -> Tensor:
    """Read class weights, float32 [K, C], from a file of their own.

    Args:
        path: ``.npy``, or ``.safetensors`` with one tensor or one called ``weight``.

    Raises:
        LpcamError: no such file, another kind of file, another shape, or values that are not finite.
    """
    _require_file(path, "give --head an .npy or .safetensors file")
    if path.suffix == ".npy":
        return class_weights(_read_npy(path), str(path))
    if path.suffix == ".safetensors":
        return class_weights(_only_matrix(_read_safetensors(path), path), str(path))
    raise LpcamError(f"cannot read a head from {path}: give --head an .npy or .safetensors file")


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over sorted names, dtypes, shapes and bytes: not over the file they came in.

    >>> fingerprint({"a": torch.zeros(2), "b": torch.ones(1)})[:8]
    '0053be2a'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype.str} {list(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def finite(tensor: Tensor, source: str) -> Tensor:
    """Return the tensor as contiguous float32.

    Raises:
        LpcamError: a value is NaN or infinite.
    """
    tensor = tensor.detach().to(torch.float32).contiguous()
    if not torch.isfinite(tensor).all():
        raise LpcamError(f"{source} contains NaN or infinite values: take an earlier checkpoint")
    return tensor


def _require_file(path: Path, advice: str) -> None:
    if path.is_dir():
        raise LpcamError(f"{path} is a folder, not a file: {advice}")
    if not path.is_file():
        raise LpcamError(f"{path} does not exist: {advice}")


def _read_torch(path: Path) -> object:
    try:
        return load_torch(path)
    except OSError as error:
        raise LpcamError(f"cannot read {path} ({error.strerror or error}): check the file") from error
    except Exception as error:  # damaged bytes can fail in any way
        raise LpcamError(_refusal(path, error)) from error


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ARCHIVE)) == _ARCHIVE


def _require_shallow(path: Path, archive: bool, size: int) -> None:
    """Refuse an archive that unpacks to more than the file, and tuples too deep to be hashed.

    Raises:
        Exception: it does, or is damaged.
    """
    if not archive:
        with path.open("rb") as file:
            for _ in range(_PICKLES):
                _require_shallow_tuples(file)
        return
    with zipfile.ZipFile(path) as members:
        if sum(info.file_size for info in members.infolist()) > size:
            raise ValueError(f"unpacks to more than the {size} bytes it has")  # torch stores, it does not compress
        for info in members.infolist():
            if info.filename.endswith(".pkl"):
                _require_shallow_tuples(io.BytesIO(members.read(info)))


def _require_shallow_tuples(file: IO[bytes]) -> None:
    """Read one pickle without making anything of it, and raise where its tuples lie deep in one another."""
    depths: list[int | None] = []  # of what is on the stack; None is a mark
    memo: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _TUPLES:
            count = _TUPLES[name]
            inner = _popped(depths, count)
            depths.append(1 + max(inner, default=0))
            if 1 + max(inner, default=0) > _DEEPEST:
                raise ValueError("tuples too deep in one another")
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = depths[-1] or 0
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            depths.append(memo[int(argument or 0)])
        else:
            _step(depths, opcode)


_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}


def _popped(depths: list[int | None], count: int | None) -> list[int]:
    """Take values from the stack: so many, or all down to the last mark, which goes too."""
    taken: list[int] = []
    while count is None or len(taken) < count:
        depth = depths.pop()
        if depth is None:
            break
        taken.append(depth)
    return taken


def _step(depths: list[int | None], opcode: pickletools.OpcodeInfo) -> None:
    """Do to the stack what an opcode does; what it makes is no tuple."""
    takes = [each.name for each in opcode.stack_before]
    if "mark" in takes:
        _popped(depths, None)
        takes = takes[: takes.index("mark")]
    _popped(depths, len(takes))
    depths += [None if each.name == "mark" else 0 for each in opcode.stack_after]


def _refusal(path: Path, error: Exception) -> str:
    if any(word in str(error) for word in ("GLOBAL", "reduce", "Can only")):  # torch's words for a refused object
        return (
            f"{path} holds more than tensors and was not unpickled: "
            "save it again with torch.save(model.state_dict(), path), or as .safetensors"
        )
    return (
        f"{path} is not a checkpoint of tensors, or is damaged: "
        "download it again, or save it with torch.save(model.state_dict(), path)"
    )


def _read_safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise LpcamError(f"{path} is not a safetensors file (or is damaged): save it again") from error


def _read_npy(path: Path) -> Tensor:
    advice = "save it with numpy.save(path, weights)"
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        data = io.BytesIO(path.read_bytes())
        shape, _, dtype = readers[np.lib.format.read_magic(data)](data)
        if math.prod(shape) * dtype.itemsize > data.getbuffer().nbytes:  # before room is made for it
            raise ValueError("cut short")
        data.seek(0)
        array = np.load(data, allow_pickle=False)
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise LpcamError(f"{path} is not an array of numbers: {advice}") from error
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise LpcamError(f"{path} is not an array of real numbers: {advice}")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _only_matrix(tensors: Tensors, path: Path) -> Tensor:
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    if "weight" in tensors:
        return tensors["weight"]
    raise LpcamError(f"{path} holds {len(tensors)} tensors and none is called 'weight': save only the head")


def _unwrapped(content: object) -> Mapping[object, object]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            return _unwrapped(content[wrapper])
    return content if isinstance(content, Mapping) else {}


def _without_prefixes(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.partition(".")[2]
    return key


def _same(one: Tensor, other: Tensor) -> bool:
    if one.numel() != other.numel() or one.dtype != other.dtype:
        return False
    return one.data_ptr() == other.data_ptr() or bool(
        torch.isclose(one.flatten(), other.flatten(), rtol=0, atol=0, equal_nan=True).all()
    )


def _numbers(tensor: Tensor, source: str) -> Tensor:
    return finite(tensor, source) if tensor.is_floating_point() else tensor.contiguous()


def _shaped(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> Tensors:
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    return {name: _as_convolution(tensor, wanted.get(name)) for name, tensor in given.items()}


def _as_convolution(tensor: Tensor, shape: torch.Size | None) -> Tensor:
    if shape is None or tensor.ndim != 2 or len(shape) != 4:
        return tensor
    same_matrix = tensor.shape == (shape[0], shape.numel() // shape[0])
    return tensor.reshape(shape) if same_matrix else tensor


def _differing_names(given: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> list[str]:
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    kinds = (("missing", missing), ("unexpected", unexpected))
    return [f"{_keys(names)} {kind} ({_few(names)})" for kind, names in kinds if names]


def _differing_shapes(given: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> list[str]:
    other = [
        f"{name}: {list(given[name].shape)} in the file, {list(shape)} in the network"
        for name, shape in wanted.items()
        if name in given and given[name].shape != shape
    ]
    return [f"{_keys(other)} of another shape ({_few(other)})"] if other else []


def _keys(names: list[str]) -> str:
    return "1 key" if len(names) == 1 else f"{len(names)} keys"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
