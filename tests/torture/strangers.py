"""Files that a stranger would send: code to be run, bombs, and content that lies about its size; by form."""

# ruff: noqa: E501 (tables: a row a line)
from __future__ import annotations

import builtins
import functools
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.torture.mutations import metadata_of, npy_of, png_chunk, resealed, zipped

Sent = dict[str, bytes]
"""The files by what they try."""


class Call:
    """Pickles as the call of a function, with a state to be set afterwards."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self._reduced = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> Any:
        return self._reduced

    def __call__(self) -> None:
        """Stand where a pickle names a function that is itself the result of a call."""


def canaries(canary: Path) -> dict[str, Call]:
    """Return calls that make the file ``canary`` when a reader carries them out."""
    return {
        "os.system": Call(os.system, f"touch {canary}"),
        "builtins.eval": Call(builtins.eval, f"open({str(canary)!r}, 'w').close()"),
        "builtins.open": Call(builtins.open, str(canary), "w"),
    }


BOMBS = (200_000_000, 1_300_000_000)
"""Zeros that a bomb unpacks to."""


@functools.cache
def packed(size: int) -> tuple[bytes, int]:
    """Return so many zeros as a raw stream of deflate, and their checksum."""
    block = bytes(10_000_000)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(size // len(block)):
        checksum = zlib.crc32(block, checksum)
    return first * (size // len(block)) + squeeze.flush(), checksum


def bombed(members: dict[str, bytes], names: Sequence[str], size: int) -> bytes:
    """Return a zip archive of which some members unpack to ``size`` zeros."""
    data, checksum = packed(size)
    file, central = io.BytesIO(), b""
    for name, stored in members.items():
        content = data if name in names else stored
        facts = (8, checksum, size) if name in names else (0, zlib.crc32(content), len(content))
        common = struct.pack("<HHHHHIIIHH", 20, 0, facts[0], 0, 33, facts[1], len(content), facts[2], len(name), 0)
        central += (
            b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, file.tell()) + name.encode()
        )
        file.write(b"PK\3\4" + common + name.encode() + content)
    start = file.tell()
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), start, 0)
    return file.getvalue() + central + b"PK\5\6" + end


def squeezed(size: int) -> bytes:
    """Return so many zeros as a stream of zlib, whose checksum a reader comes to last."""
    return b"\x78\xda" + packed(size)[0] + b"\0\0\0\1"


def common(canary: Path) -> Sent:
    """Return what is no file of any form."""
    return {
        "nothing": b"",
        "one byte": b"\x80",
        "zeros": bytes(70_000),
        "text": b"hello\nworld\n",
        "a page": b"<!DOCTYPE html><html><body>404: Not Found</body></html>",
        "a pointer of git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "a zip": zipped({"a": b"b"}),
        "a pickle that runs code": pickle.dumps(canaries(canary)["os.system"]),
    }


# ------------------------------------------------------------------------------------------- pickles


def dictionaries(whole: bytes, canary: Path) -> Sent:
    """Return pickled dictionaries in ``.npy`` files."""
    found = {f"{name}, {place}": npy_of(wrapped) for name, call in canaries(canary).items() for place, wrapped in
             (("bare", call), ("as a value", {"keys": call, "cam": call, "a": call, 0: call}), ("as a key", {call: 1}))}  # fmt: skip
    found |= {
        f"{name}, in a storage": npy_of({"keys": Call(torch.storage._load_from_bytes, saved(call, zip_format=False))})
        for name, call in canaries(canary).items()
    }
    reconstruct, empty = np.zeros(1).__reduce__()[:2]
    own: list[Any] = []
    own.append(own)
    laughs: list[Any] = [0] * 10
    for _ in range(20):
        laughs = [laughs] * 10
    storage = Call(torch.storage._load_from_bytes, saved(torch.FloatStorage(1), zip_format=False))
    rebuild = torch._utils._rebuild_tensor_v2
    values = {
        "a list that holds itself": own,
        "a billion laughs": laughs,
        "a million references to one array": [np.zeros(1000)] * 100_000,
        "objects beyond all memory": Call(reconstruct, *empty, state=(1, (2 * 10**8,), np.dtype("O"), False, [])),
        "a trillion empty strings": Call(reconstruct, *empty, state=(1, (10**12,), np.dtype("S0"), False, b"")),
        "a trillion voids": Call(reconstruct, *empty, state=(1, (10**6, 10**6), np.dtype("V0"), False, b"")),
        "a tensor of one number and a trillion places": Call(rebuild, storage, 0, (10**6, 10**6), (0, 0), False, {}),
        "a tensor of negative size": Call(rebuild, storage, 0, (-1, 5), (5, 1), False, {}),
        "a tensor beyond its storage": Call(rebuild, storage, 10**9, (5, 5), (5, 1), False, {}),
        "a storage without bytes": Call(Call(torch.storage._load_from_bytes, _class_of_torch("FloatStorage")), 10**10),
        "a number of ten thousand digits": 10**4000 << 20_000,
        "a string of a million": "x" * 10**6,
    }
    for name, value in values.items():
        found |= {f"{name}, as a value": npy_of({"keys": value, "cam": value, "high_res": value, 0: value, "a": value})}
    head = npy_of(None)[:128]
    found |= {
        "a number as a key": npy_of({1 << 40_000: np.zeros(2), 0: np.zeros((9, 13))}),
        "tuples in tuples as a key": head + b"\x80\x04}(N" + b"\x85" * 300_000 + b"Nu.",
        "tuples in tuples in a set": head + b"\x80\x04\x8f(N" + b"\x85" * 300_000 + b"\x90.",
        "lists in lists": head + b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "a string that says it is long": head + b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.",
        "a frame that says it is long": head + b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"}.",
        "a memo of billions": head + b"\x80\x04}r\xff\xff\xff\x7fa.",
        "a header of four gigabytes": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '|O'",
        "a header that is code": b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'shape': __import__('os').system('x')}".ljust(117) + b"\n",
        "a header in parentheses": b"\x93NUMPY\x01\x00\x60\xea" + b"(" * 60_000,
        "an archive of arrays": _npz(canary),
    }  # fmt: skip
    return found


def saved(value: Any, *, zip_format: bool = True) -> bytes:
    """Return a file of ``torch.save``."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zip_format)
    return file.getvalue()


def _class_of_torch(name: str) -> bytes:
    """Return a file in torch's first format that holds a class of torch, which is allowed, and no object of it."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    head = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    return head + f"\x80\x02ctorch\n{name}\n.".encode() + pickle.dumps([], protocol=2)


def _npz(canary: Path) -> bytes:
    array = np.array([canaries(canary)["os.system"]], dtype=object)
    file = io.BytesIO()
    np.savez(file, keys=array, a=array)
    return file.getvalue()


def checkpoints(whole: bytes, canary: Path) -> Sent:
    """Return files of torch, in its zip format, its first and its very first."""
    found = {}
    for name, call in canaries(canary).items():
        for place, value in (("bare", call), ("as a value", {"fc.weight": call}), ("as a key", {call: torch.zeros(1)})):
            found[f"{name}, {place}, zip"] = saved(value)
            found[f"{name}, {place}, first format"] = saved(value, zip_format=False)
    content = torch.load(io.BytesIO(whole), weights_only=True)
    names = list(content) if isinstance(content, dict) else [0]
    one = torch.zeros(1)
    everywhere = {
        "one number and a trillion places": one.expand(10**6, 10**6),
        "one number and a billion places": one.expand(10**9),
        "numbers that were never written": Call(torch.Tensor, 10**5, 10**5),
        "a storage that was never written": Call(torch.FloatStorage, 10**10),
        "sparse beyond all memory": torch.sparse_coo_tensor([[0], [0]], [1.0], (10**9, 10**9)),
        "on no device": torch.zeros(10**6, 10**6, device="meta"),
    }
    for name, value in everywhere.items():
        for how in (True, False):
            try:
                found[f"{name}, {'zip' if how else 'first format'}"] = saved(
                    dict.fromkeys(names, value), zip_format=how
                )
            except (RuntimeError, NotImplementedError, AttributeError):  # torch cannot write it so
                continue
    many = torch.zeros(200_000)
    found["ten thousand names of one tensor"] = saved({f"a{index}": many for index in range(10_000)})
    with zipfile.ZipFile(io.BytesIO(whole if zipfile.is_zipfile(io.BytesIO(whole)) else saved(content))) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    root = pickled.removesuffix("data.pkl")
    found |= {
        "a zip bomb": bombed(members, [pickled], BOMBS[1]),
        "a storage that is a bomb": bombed(members, [name for name in members if "/data/" in name], BOMBS[1]),
        "a program of TorchScript": zipped({**members, f"{root}constants.pkl": b"\x80\x02).", f"{root}code/__torch__.py": b"x = 1"}),
        "lists in lists": zipped({**members, pickled: b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."}),
        "tuples in tuples as a key": zipped({**members, pickled: b"\x80\x02}(N" + b"\x85" * 300_000 + b"Nu."}),
        "a tar": _tar(canary),
        "names that lead out": zipped({**members, "../../canary": b"x", "/canary": b"x"}),
    }  # fmt: skip
    return found


def _tar(canary: Path) -> bytes:
    """Return torch's very first format, whose storages lead out of the folder they are unpacked to."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in (("storages", b"\x80\x02K\x01."), ("tensors", b"\x80\x02K\x00."), ("pickle", b"\x80\x02}."),
                              (str(canary), b"x"), ("../../canary", b"x")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def arrays(whole: bytes, canary: Path) -> Sent:
    """Return ``.npy`` files of one array."""
    found = {name: npy_of(call) for name, call in canaries(canary).items()}
    for shape in ((10**6, 10**6), (2 * 10**8,), (-1, 4), (2**40, 0), (1,) * 70):
        found[f"of shape {shape[:2]}"] = _array_header("<f4", shape) + b"abcd"
    for kind in ("|O", "<f2", "<c16", "|S5", "|V0", "<U9", "[('a', '<f4')]", "<M8[s]", ">f8", "|b1", "<f16"):
        found[f"of {kind}"] = _array_header(kind, (2, 2)) + bytes(400)
    return {**found, "an archive": _npz(canary), "a header of four gigabytes": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"}


def _array_header(kind: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': {kind if kind[0] == '[' else repr(kind)}, 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust((len(text) + 11) // 64 * 64 + 117 - 64 if len(text) > 117 else 117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


# ------------------------------------------------------------------------------------------- tensors


def safetensors(whole: bytes, canary: Path) -> Sent:
    """Return safetensors files whose headers lie, and descriptions that do."""
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    body = whole[8 + length :]
    metadata = metadata_of(whole)
    first = next(name for name in header if name != "__metadata__")

    def of(changed: dict[str, Any], length: int | None = None) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + body

    def shaped(shape: list[int], end: int | None = None) -> bytes:
        start, stop = header[first]["data_offsets"]
        return of({**header, first: {**header[first], "shape": shape, "data_offsets": [start, end or stop]}})

    found = {
        "a header of 2^63 bytes": of(header, 2**63),
        "a header of 90 MB": of(header, 90_000_000),
        "a tensor of 10^12": shaped([10**6, 10**6]),
        "a tensor of 2^64": shaped([2**32, 2**32]),
        "a tensor of nothing by 2^40": shaped([0, 2**40], header[first]["data_offsets"][0]),
        "a tensor that ends behind the file": shaped([10**6], 10**9),
        "another kind of number": of({**header, first: {**header[first], "dtype": "F8_E5M2"}}),
        "no tensors": struct.pack("<Q", 2) + b"{}",
        "a header in brackets": struct.pack("<Q", 60_000) + b"[" * 60_000,
    }
    for key in metadata:
        for name, text in (("in brackets", "[" * 60_000), ("a word", '"a"'), ("nothing", ""), ("no object", "[1]")):
            found[f"a description {name}"] = of({**header, "__metadata__": {**metadata, key: text}})
        description = {**json.loads(metadata[key]), "sha256": ""}
        found["a description without a checksum"] = of({**header, "__metadata__": {key: json.dumps(description)}})
        classes = {**description, "classes": ["a\nb", "..", "\x1b[2J", "x" * 10**6] * 3}
        found["classes of a million letters"] = of({**header, "__metadata__": {key: resealed(classes, {})}})
    return found


# --------------------------------------------------------------------------------------------- texts


def texts(whole: bytes, canary: Path) -> Sent:
    """Return lists and tables."""
    long, lines = b"x" * 10**6, b"\n".join(b"a%d" % number for number in range(50_000))
    names = [b"..", b"../../canary", b"/etc/passwd", b"a/../../b", b"CON", b"a.", b"-rf", b".lpcam-seeds", b"x" * 300]
    names += [
        "é".encode(),
        b"e\xcc\x81",
        "\u202egpj.a".encode(),
        b"\xff",
        b"a\0b",
        b"\x1b[2J",
        b"a\rb",
        b"\xed\xb2\x80",
    ]
    return {
        **{f"the name {name[:20]!r}": whole + name + b",sheep\n" for name in names},
        **{f"the name {name[:20]!r} alone": whole + name + b"\n" for name in names},
        "a line of a megabyte": whole + long,
        "fifty thousand lines": lines,
        "megabytes of empty lines": b"\n" * 3_000_000,
        "an open quote": whole + b'"' + long,
        "a field of a megabyte": b"name,classes\na," + long,
        "a million classes": b"name,classes\na," + b";x" * 500_000,
        "utf-16": whole.decode().encode("utf-16"),
        "a mark twice": b"\xef\xbb\xbf\xef\xbb\xbf" + whole,
    }


def json_texts(whole: bytes, canary: Path) -> Sent:
    """Return JSON that is deep, long or strange."""
    return {
        "brackets": b"[" * 200_000,
        "braces": b'{"a":' * 100_000,
        "an object in brackets": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "a number of digits": b'{"schema": ' + b"9" * 10**6 + b"}",
        "a float of digits": b'{"schema": 1.' + b"9" * 10**6 + b"}",
        "a list": b"[1, 2]",
        "null": b"null",
        "a name twice": whole[:-2] + b', "schema": 1, "schema": 2}',
        "a surrogate": b'{"\\ud800": "\\udfff"}',
        "utf-16": whole.decode().encode("utf-16"),
        "infinity": b'{"schema": Infinity, "a": NaN, "b": 1e999}',
    }


def instances(whole: bytes, canary: Path) -> Sent:
    """Return an instances JSON whose outlines are bombs and whose names lead out."""
    tree = json.loads(whole)

    def outlined(segmentation: object, size: tuple[int, int] = (33, 57), **more: object) -> bytes:
        annotations = [{**entry, "segmentation": segmentation, **more} for entry in tree["annotations"]]
        images = [{**entry, "height": size[0], "width": size[1]} for entry in tree["images"]]
        return json.dumps({**tree, "images": images, "annotations": annotations}).encode()

    def run_lengths(counts: object, size: tuple[int, int] = (33, 57)) -> bytes:
        return outlined({"size": list(size), "counts": counts}, size)

    huge, zigzag = (10**6, 10**6), [value for index in range(60_000) for value in (index % 2 * 20_000, index % 7)]
    names = ("..", "../../canary", "/etc/passwd", "a\0b", "a\nb", "\ud800", ".lpcam-seeds.json", "x" * 300, "", 7, None)
    named = {
        f"the name {name!r:.20}": json.dumps({**tree, "images": [{**entry, "file_name": name} for entry in tree["images"]]}).encode()
        for name in names
    }  # fmt: skip
    return {
        **json_texts(whole, canary),
        **named,
        "a billion pixels in two runs": run_lengths([10**9, 10**9], (40_000, 50_000)),
        "a billion pixels, compressed": run_lengths("o" * 60 + "0", (40_000, 50_000)),
        "runs that are negative": run_lengths([-5, 1886]),
        "runs of one": run_lengths([1] * 1881),
        "runs that do not end": run_lengths("oooooooooooooooo"),
        "runs beyond the image": run_lengths("`f?`f?`f?`f?"),
        "runs that are no letters": run_lengths("\u00e9\u0000\n"),
        "runs of floats": run_lengths([1e9, 2.5]),
        "an image of 10^12 pixels": outlined([[0, 0, 5, 0, 5, 5]], huge),
        "a polygon of 10^9 steps": outlined([zigzag], (5000, 5000)),
        "a polygon of nothing": outlined([[]]),
        "a polygon of words": outlined([["a", "b", "c", "d", "e", "f"]]),
        "polygons in polygons": outlined([[[1, 2], [3, 4], [5, 6]]]),
        "a polygon of 1e308": outlined([[1e308, -1e308] * 3]),
        "an area of 10^400": outlined([[0, 0, 5, 0, 5, 5]], area=10**400),
        "ten thousand outlines": json.dumps({**tree, "annotations": tree["annotations"] * 3000}).encode(),
    }


def annotations(whole: bytes, canary: Path) -> Sent:
    """Return XML with entities, depth and length."""
    laughs = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 12))
    found = {
        "a billion laughs": f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><annotation><object><name>&l11;</name></object></annotation>',
        "quadratic": f'<!DOCTYPE a [<!ENTITY x "{"x" * 50_000}">]><annotation><object><name>{"&x;" * 50_000}</name></object></annotation>',
        "a file": f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{canary.parent}/secret">]><annotation><object><name>&x;</name></object></annotation>',
        "a document type of its own": f'<!DOCTYPE annotation SYSTEM "file://{canary.parent}/a.dtd"><annotation/>',
        "a parameter": '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p">%p;]><annotation/>',
        "deep": "<annotation>" + "<a>" * 200_000,
        "a name of lines": "<annotation><object><name>" + "\n" * 2_000_000 + "</name></object></annotation>",
        "a name of a megabyte": "<annotation><object><name>" + "x" * 10**6 + "</name></object></annotation>",
        "a name of two lines": "<annotation><object><name>she\nep</name></object></annotation>",
        "a name of escapes": "<annotation><object><name>&#x9b;2J&#x202e;</name></object></annotation>",
        "many objects": "<annotation>" + "<object><name>sheep</name></object>" * 50_000 + "</annotation>",
        "an inclusion": '<annotation xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="secret"/></annotation>',
        "attributes": "<annotation " + " ".join(f'a{number}=""' for number in range(20_000)) + "/>",
    }  # fmt: skip
    return {**{name: text.encode() for name, text in found.items()}, "utf-16": whole.decode().encode("utf-16")}


# -------------------------------------------------------------------------------------------- images


@functools.cache
def large_images() -> Sent:
    """Return images that unpack to far more than they are."""
    grey = Image.new("L", (8, 8), 9)
    return {
        "100,000 × 100,000": _png(100_000, 100_000, zlib.compress(bytes(10**6))),
        "9,400 × 9,400, of one colour": _png(9_400, 9_400, zlib.compress(bytes(9_401 * 9_400), 9)),
        "a hundred texts that are bombs": _png(8, 8, zlib.compress(bytes(72)), *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))] * 100),
        "many frames": _saved(grey, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), n % 250) for n in range(300)]),
        "many pages": _saved(grey, "TIFF", save_all=True, append_images=[grey] * 100),
        "animated": _saved(grey.convert("RGB"), "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(50)]),
        "a large page": _saved(Image.new("1", (30_000, 30_000)), "TIFF", compression="group4"),
        "a large film": _saved(Image.new("P", (9_000, 9_000)), "GIF"),
    }  # fmt: skip


def images(whole: bytes, canary: Path) -> Sent:
    """Return large images, and formats nobody expects."""
    grey = Image.new("L", (8, 8), 9)
    postscript = (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n({canary}) (w) file closefile\nshowpage\n"
    )
    found = {
        **large_images(),
        "9,400 × 9,400, little data": _png(9_400, 9_400, zlib.compress(bytes(100))),
        "2^31 wide": _png(2**31 - 1, 1, b""),
        "no pixels": _png(0, 0, b""),
        "a profile that is a bomb": _png(8, 8, zlib.compress(bytes(72)), (b"iCCP", b"a\0\0" + squeezed(BOMBS[0]))),
        "a text that is a bomb": _png(8, 8, zlib.compress(bytes(72)), (b"zTXt", b"a\0\0" + squeezed(BOMBS[0]))),
        "a text in another language": _png(8, 8, zlib.compress(bytes(72)), (b"iTXt", b"a\0\1\0\0\0" + squeezed(BOMBS[0]))),
        "a program in PostScript": postscript.encode(),
        "PostScript in DOS": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(postscript)) + bytes(20) + postscript.encode(),
        "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "a tag that is the next one": b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 4, 1, 5, 8),
        "a tag of four gigabytes": b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 273, 4, 2**32 - 1, 8) + bytes(4),
        "a note about the camera": _saved(grey.convert("RGB"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 60_000),
        "grey as text": b"P2\n9000 9000\n255\n1 2 3",
        "a map of one bit": b"P4\n100000 100000\n",
        "real numbers": b"Pf\n9 13\n1.0\n" + bytes(9 * 13 * 4),
    }  # fmt: skip
    for form in ("ICO", "PCX", "TGA", "SGI", "DDS", "QOI", "JPEG2000", "AVIF", "ICNS", "IM", "XBM", "MSP", "DIB"):
        try:
            found[f"as {form}"] = _saved(Image.new("1" if form in ("XBM", "MSP") else "RGB", (13, 9)), form)
        except (OSError, KeyError, ValueError):  # this Pillow does not write it
            continue
    return found


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


SENDERS: dict[str, Callable[[bytes, Path], Sent]] = {
    "dictionary": dictionaries, "array": arrays, "torch": checkpoints, "safetensors": safetensors, "text": texts,
    "json": json_texts, "json lines": json_texts, "instances": instances, "xml": annotations, "image": images, "png": images,
}  # fmt: skip
