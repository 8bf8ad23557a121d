"""Whole files, spoilt: bytes changed at random, and content changed inside containers that stay valid.

Everything is drawn from the generator that is passed in: the same seed spoils in the same way.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from lpcam import files, tensorfile

Spoil = Callable[[bytes, random.Random], bytes]

INTEGERS = (0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63), 10**9)
TOKENS = {
    "text": [b"..", b"../../", b"/etc/passwd", b"\0", b"\n", b"\r\n", b"\xff\xfe", b"\xed\xa0\x80", "‮".encode(), b"\x1b[2J"]
    + [b"-1", b"9" * 30, b"1e999", b"NaN", b"a" * 300, b"," * 50, b";", b'"', b"CON", "é".encode(), b"\xef\xbb\xbf"],
    "json": [b"[", b"]", b"{", b"}", b":", b",", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b'"\\ud800"', b"[" * 3000]
    + [b'"../../x"', b'"\\u0000"', b'"\\n"', b"-1", b"0.5", b"true", b"2147483648", b"1000000000000"],
    "xml": [b"<!DOCTYPE a>", b'<!ENTITY x "y">', b"&x;", b"&amp;", b"&#0;", b"&#xD800;", b"<object>", b"</object>", b"<a>" * 999]
    + [b"<![CDATA[", b"]]>", b"<?xml version='1.0' encoding='utf-7'?>", b"<name>", b"</annotation>", b"\0", b"<!--"],
    "pickle": [bytes([value]) for value in b"(.0R}]lbctsuaeqhjrQPiodIJKMNULVXB\x80\x81\x85\x86\x87\x8a\x8b\x8c\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"]
    + [b"cposix\nsystem\n", b"cbuiltins\neval\n", b"K\x00", b"\x8b\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"\x85" * 400],
    "image": [b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"IHDR", b"IDAT", b"IEND", b"eXIf", b"iCCP", b"zTXt", b"acTL", b"Exif\0\0"]
    + [b"II*\0", b"MM\0*", b"\xff\xff\xff\xff", b"VP8 ", b"VP8L", b"ANIM", b"RIFF", b"\xff\xe1"],
}  # fmt: skip


# --------------------------------------------------------------------------------------------- bytes


def some_bytes(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    """Change one to four things."""
    spoilt = data
    for _ in range(draw.choice((1, 1, 1, 2, 2, 4))):
        spoilt = draw.choice(_CHANGES)(spoilt, draw, tokens, others)
    return spoilt


def _flip(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _run(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    start, length = _place(data, draw), draw.choice((1, 2, 4, 16, 200))
    return data[:start] + bytes([draw.choice((0, 255, 128, 65))]) * length + data[start + length :]


def _cut(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    return data[: _place(data, draw)]


def _splice(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    other = draw.choice(others) if others else data
    return data[: _place(data, draw)] + other[_place(other, draw) :]


def _slice_gone(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    start = _place(data, draw)
    return data[:start] + data[start + draw.choice((1, 2, 7, 64)) :]


def _slice_twice(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    start, length = _place(data, draw), draw.choice((1, 4, 30, 500))
    return data[: start + length] * 1 + data[start : start + length] * draw.choice((1, 2, 50)) + data[start + length :]


def _integer(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    value, size, order = draw.choice(INTEGERS), draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
    start = _place(data, draw)
    number = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    return data[:start] + number + data[start + size :]


def _token(data: bytes, draw: random.Random, tokens: list[bytes], others: list[bytes]) -> bytes:
    start, token = _place(data, draw), draw.choice(tokens or [b"\0"])
    return data[:start] + token + data[start + (len(token) if draw.random() < 0.5 else 0) :]


_CHANGES = (_flip, _run, _cut, _splice, _slice_gone, _slice_twice, _integer, _token, _token)


def _place(data: bytes, draw: random.Random) -> int:
    """Return a place, half of the time near the beginning, where headers are."""
    end = min(len(data), 200) if draw.random() < 0.5 else len(data)
    return draw.randrange(end) if end else 0


# ------------------------------------------------------------------------------------------- content


def deep(levels: int) -> list[Any]:
    """Return a list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


ODD = (
    None, True, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, float("nan"), float("inf"), "", ".", "..",
    "../../canary", "/etc/passwd", "a\0b", "a\nb", "\x1b[2J", "\u202e", "\ud800", "x" * 300, "x" * 100_000, "CON", "-rf",
    [], {}, [[]], {"a": {}}, [0] * 1000, ["a", 1, None], deep(60),
)  # fmt: skip


def spoil_tree(tree: Any, draw: random.Random) -> Any:
    """Return a copy of which one or two things, at any depth, are changed, gone, doubled or of another kind."""
    changed = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 2))):
        changed = _spoilt(changed, draw)
    return changed


def _spoilt(node: Any, draw: random.Random) -> Any:
    inner = isinstance(node, dict | list | tuple) and len(node) > 0
    if inner and draw.random() < 0.8:
        return _in_dict(node, draw) if isinstance(node, dict) else _in_list(node, draw)
    if isinstance(node, np.ndarray):
        return _odd_array(node, draw)
    if isinstance(node, torch.Tensor):
        return _odd_tensor(node, draw)
    return draw.choice(ODD)


def _in_dict(node: dict[Any, Any], draw: random.Random) -> dict[Any, Any]:
    key, how = draw.choice(list(node)), draw.random()
    if how < 0.1:
        return {name: value for name, value in node.items() if name != key}
    if how < 0.2:
        new = draw.choice([odd for odd in ODD if not isinstance(odd, dict | list)])
        return {new if name == key else name: value for name, value in node.items()}
    if how < 0.25:
        return {**node, "more": draw.choice(ODD)}
    return {**node, key: _spoilt(node[key], draw)}


def _in_list(node: list[Any] | tuple[Any, ...], draw: random.Random) -> Any:
    place, how, entries = draw.randrange(len(node)), draw.random(), list(node)
    if how < 0.1:
        entries.pop(place)
    elif how < 0.2:
        entries.insert(place, copy.deepcopy(entries[place]))
    elif how < 0.25:
        entries = entries * 100
    else:
        entries[place] = _spoilt(entries[place], draw)
    return type(node)(entries)


def _odd_array(array: np.ndarray[Any, Any], draw: random.Random) -> Any:
    real = array.astype(np.float64) if array.dtype.kind in "biuf" else np.zeros(array.shape)
    return draw.choice(
        (
            lambda: real * np.nan, lambda: real + np.inf, lambda: real - 2, lambda: real * 1e30, lambda: array[None],
            lambda: array.reshape(-1), lambda: array[:0], lambda: array.T, lambda: np.array(draw.choice(INTEGERS[:10])),
            lambda: array.astype(np.complex128), lambda: array.astype(str), lambda: array.astype(object), lambda: array.tolist(),
            lambda: array.astype(np.float16), lambda: array.astype(np.int64), lambda: array.astype(bool), lambda: array.astype(">f8"),
            lambda: array.astype("M8[s]"), lambda: np.full(array.shape, None), lambda: np.zeros((0, 5, 5), np.float32),
            lambda: np.concatenate([array.reshape(-1)] * 3), lambda: np.zeros((3, 0), "V0"), lambda: torch.tensor(real),
            lambda: draw.choice(ODD), lambda: array.astype("S3"), lambda: array.astype(np.longdouble),
        )
    )()  # fmt: skip


def _odd_tensor(tensor: torch.Tensor, draw: random.Random) -> Any:
    real = tensor.double()
    return draw.choice(
        (
            lambda: real * torch.nan, lambda: real + torch.inf, lambda: real - 2, lambda: real * 1e300, lambda: tensor[None],
            lambda: tensor.reshape(-1), lambda: tensor[:0], lambda: tensor.T if tensor.ndim == 2 else tensor, lambda: tensor.bool(),
            lambda: torch.tensor(draw.choice(INTEGERS[:10])), lambda: tensor.to(torch.complex64), lambda: real.half(),
            lambda: real.to(torch.bfloat16), lambda: real.to(torch.float8_e5m2), lambda: real.long(), lambda: real.to(torch.uint16),
            lambda: real.reshape(-1)[:1].expand(1000, 1000), lambda: real.flatten().to_sparse(), lambda: real.to("meta"),
            lambda: torch.nn.Parameter(real), lambda: torch.quantize_per_tensor(real.float(), 0.1, 0, torch.quint8),
            lambda: torch.zeros(0, 5), lambda: np.asarray(real), lambda: draw.choice(ODD), lambda: real.float(),
            lambda: torch.nested.nested_tensor([real.flatten(), real.flatten()[:1]]), lambda: real[..., None, None],
            lambda: torch.zeros(1).expand(100_000, 100_000),
        )
    )()  # fmt: skip


# ---------------------------------------------------------------------------------------- containers


def npy_of(value: Any) -> bytes:
    """Return a ``.npy`` file of one pickled value."""
    holder = np.empty((), dtype=object)
    holder[()] = value
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + pickle.dumps(holder, protocol=4)


def spoil_npy(data: bytes, draw: random.Random) -> bytes:
    """Change what a pickled dictionary of our own holds."""
    whole = np.load(io.BytesIO(data), allow_pickle=True).item()
    return npy_of(spoil_tree(whole, draw))


def spoil_array(data: bytes, draw: random.Random) -> bytes:
    """Change the shape, the type or the values of an array."""
    odd = _odd_array(np.load(io.BytesIO(data)), draw)
    file = io.BytesIO()
    np.save(file, np.asarray(odd, dtype=None if isinstance(odd, np.ndarray) else object), allow_pickle=True)
    return file.getvalue()


def spoil_torch(data: bytes, draw: random.Random) -> bytes:
    """Change what a file of ``torch.save`` holds."""
    whole = torch.load(io.BytesIO(data), weights_only=True)
    file = io.BytesIO()
    torch.save(spoil_tree(whole, draw), file, _use_new_zipfile_serialization=zipfile.is_zipfile(io.BytesIO(data)))
    return file.getvalue()


def spoil_members(data: bytes, draw: random.Random) -> bytes:
    """Change bytes in a member of a zip archive, whose checksums hold."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = draw.choice([name for name in members if name.endswith("data.pkl")] * 3 + list(members))
    members[name] = some_bytes(members[name], draw, TOKENS["pickle"], list(members.values()))
    return zipped(members)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def spoil_json(data: bytes, draw: random.Random) -> bytes:
    """Change what a JSON object holds; the checksum of a sealed one is made to hold, as a stranger could."""
    tree = json.loads(data)
    sealed = isinstance(tree, dict) and tree.pop("sha256", None) is not None
    changed = spoil_tree(tree, draw)
    if sealed and isinstance(changed, dict):
        changed = sealed_json(changed)
    return json.dumps(changed).encode()


def sealed_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the checksum that `lpcam.files.write_json` would give it."""
    return {**value, "sha256": files._seal(value)}


def spoil_json_lines(data: bytes, draw: random.Random) -> bytes:
    """Change one line of JSON lines."""
    lines = data.splitlines()
    place = draw.randrange(len(lines))
    lines[place] = spoil_json(lines[place], draw)
    return b"\n".join(lines)


def spoil_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Change tensors or description of a safetensors file, whose checksum is made to hold, as a stranger could."""
    tensors = load_safetensors(data)
    metadata = metadata_of(data)
    described = {key: json.loads(text) for key, text in metadata.items()}
    spoil_description = bool(described) and draw.random() < 0.5
    if spoil_description:
        key = draw.choice(list(described))
        described[key].pop("sha256", None)
        described[key] = spoil_tree(described[key], draw)
    else:
        name = draw.choice(list(tensors))
        odd = _odd_tensor(tensors[name], draw)
        fits = isinstance(odd, torch.Tensor) and odd.layout == torch.strided and odd.device.type == "cpu"
        if draw.random() < 0.2 or not fits or odd.is_nested or odd.is_quantized or odd.numel() > 10**6:
            del tensors[name]
        else:
            tensors[name] = odd.detach().contiguous()
    texts = {key: resealed(value, tensors) for key, value in described.items()}
    return save_safetensors(tensors, texts or None)


def resealed(description: Any, tensors: dict[str, torch.Tensor]) -> str:
    """Return a description with the checksum that `lpcam.tensorfile.save` would give it."""
    if not isinstance(description, dict):
        return json.dumps(description)
    content = {key: value for key, value in description.items() if key != "sha256"}
    return json.dumps({**content, "sha256": tensorfile.identity(tensors, json.dumps(content, sort_keys=True))})


def metadata_of(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    found: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return found


def spoil_header(data: bytes, draw: random.Random) -> bytes:
    """Change the header of a safetensors file: what it says of places, types and shapes."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(spoil_tree(json.loads(data[8 : 8 + length]), draw)).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def spoil_png(data: bytes, draw: random.Random) -> bytes:
    """Change a chunk of a PNG, whose checksums hold."""
    chunks, place = [], 8
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    index = draw.randrange(len(chunks))
    kind, content = chunks[index]
    chunks[index] = (kind, some_bytes(content, draw, TOKENS["image"], []))
    if draw.random() < 0.2:
        chunks.insert(index, draw.choice(chunks))
    return data[:8] + b"".join(png_chunk(kind, content) for kind, content in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
