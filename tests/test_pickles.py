"""lpcam.pickles: dictionaries in .npy files, read without trust and written for old readers."""

import copy
import functools
import io
import os
import pickle
import pickletools
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lpcam.errors import LpcamError
from lpcam.pickles import load_dictionary, save_dictionary

# ---------------------------------------------------------------------------------------- round trips

dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="="),
    npst.floating_dtypes(endianness="="),
    npst.unicode_string_dtypes(endianness="=", min_len=1),
)
arrays = npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
keys = st.one_of(st.integers(), st.text(max_size=8))
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), arrays)
values = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)), max_leaves=8
)


def assert_same(left: object, right: object) -> None:
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        left, right = list(left.values()), list(right.values())
    if isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    else:
        assert left == right or (left != left and right != right)  # noqa: PLR0124 - NaN


@settings(max_examples=60, deadline=None)
@given(content=st.dictionaries(keys, values, max_size=4))
def test_what_is_saved_is_loaded_here_and_by_numpy(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    path = tmp_path_factory.mktemp("round") / "a.npy"
    save_dictionary(path, content)
    assert_same(load_dictionary(path), content)
    assert_same(np.load(path, allow_pickle=True).item(), content)
    first = path.read_bytes()
    save_dictionary(path, copy.deepcopy(content))
    assert path.read_bytes() == first  # what is shared between values does not show


TENSOR_DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


@pytest.mark.parametrize("dtype", TENSOR_DTYPES, ids=str)
def test_tensors_of_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    content = {
        "whole": whole,
        "view": whole[1:3, ::2].T,
        "scalar": whole[0, 1],
        "empty": whole[:0],
        "grad": whole.clone().requires_grad_() if dtype.is_floating_point else whole,
    }
    save_dictionary(tmp_path / "a.npy", content)
    for read in (load_dictionary(tmp_path / "a.npy"), np.load(tmp_path / "a.npy", allow_pickle=True).item()):
        assert_same(read, content)
        assert not any(tensor.requires_grad for tensor in read.values())
        assert all(tensor.is_contiguous() for tensor in read.values())


def irn_maps(seed: int = 0) -> dict[str, object]:
    maps = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(seed))
    return {
        "keys": torch.tensor([3, 14]),
        "cam": maps[1:, :10, :13],
        "high_res": maps[1:].numpy()[:, ::-1],
    }


def test_the_pattern_in_which_irn_reads(tmp_path: Path) -> None:
    save_dictionary(tmp_path / "2007_000032.npy", irn_maps())
    cam_dict = np.load(tmp_path / "2007_000032.npy", allow_pickle=True).item()
    padded = np.pad(cam_dict["high_res"], ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=0.15)
    assert np.argmax(padded, axis=0).shape == (40, 50)
    assert np.pad(cam_dict["keys"] + 1, (1, 0), mode="constant").tolist() == [0, 4, 15]
    assert cam_dict["cam"].to("cpu").shape == (2, 10, 13)  # the reader's .cuda()


def test_a_view_does_not_bring_its_storage(tmp_path: Path) -> None:
    save_dictionary(tmp_path / "a.npy", {"cam": torch.zeros(1000, 1000)[5:6, 3:5]})
    assert (tmp_path / "a.npy").stat().st_size < 1500


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    dense = {"a": torch.ones(1, 3), "b": np.ones((2, 3)), "c": ["x y"] * 2}
    odd = {
        "a": torch.ones(5, 3)[:1],  # one row has any stride
        "b": np.asfortranarray(np.ones((2, 3))),
        "c": ["x y", "".join(["x", " y"])],
    }
    save_dictionary(tmp_path / "dense.npy", dense)
    save_dictionary(tmp_path / "odd.npy", odd)
    assert (tmp_path / "dense.npy").read_bytes() == (tmp_path / "odd.npy").read_bytes()


# ---------------------------------------------------------------------------------------- old readers


def globals_of(data: bytes) -> set[str]:
    """Return the global names in a protocol-4 pickle without a memo."""
    strings: list[str] = []
    found = set()
    for opcode, argument, _ in pickletools.genops(data):
        assert opcode.proto <= 4
        if opcode.name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]))
        if isinstance(argument, str):
            strings.append(argument)
    return found


def test_names_and_versions_that_old_numpy_and_torch_know(tmp_path: Path) -> None:
    save_dictionary(tmp_path / "a.npy", {**irn_maps(), "scalar": np.float32(1)})
    data = (tmp_path / "a.npy").read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    assert b"{'descr': '|O', 'fortran_order': False, 'shape': (), }" in data[:128]
    assert b"_core" not in data
    assert globals_of(data[data.index(b"\n") + 1 :]) == {
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.ndarray",
        "numpy.dtype",
        "torch._utils._rebuild_tensor_v2",
        "torch.storage._load_from_bytes",
        "collections.OrderedDict",
    }


OLD_PYTHONS = [word for word in os.environ.get("LPCAM_OLD_PYTHON", "").split(":") if word]
OLD_READER = """
import sys, numpy
content = numpy.load(sys.argv[1], allow_pickle=True).item()
content["keys"] + 1, content["cam"].sum(), content["high_res"][:, 0]
print({key: (type(value).__name__, str(value.dtype), tuple(value.shape)) for key, value in content.items()})
"""


@pytest.mark.skipif(not OLD_PYTHONS, reason="LPCAM_OLD_PYTHON names no old interpreter")
@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_old_interpreters_load_it(tmp_path: Path, python: str) -> None:
    """Run the reader in the interpreters of LPCAM_OLD_PYTHON (paths joined by ``:``).

    Passed on 2026-11-20 with Python 3.8.18, NumPy 1.21.6, torch 1.8.1, made by
    ``python3.8 -m venv old && old/bin/pip install numpy==1.21.6 torch==1.8.1``; and, where torch is missing
    and the maps are NumPy's, with Python 3.7.16, NumPy 1.21.6 and Python 3.6.15, NumPy 1.19.5.
    """
    content = irn_maps()
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
        content = {key: np.asarray(value) for key, value in content.items()}
    save_dictionary(tmp_path / "a.npy", content)
    command = [python, "-c", OLD_READER, str(tmp_path / "a.npy")]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert output.strip() == str(
        {key: (type(value).__name__, str(value.dtype), tuple(value.shape)) for key, value in content.items()}
    )


# ------------------------------------------------------------------------- what save_dictionary refuses


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        print,
        b"bytes",
        np.array([None]),
        np.ma.ones(3),
        torch.ones(2, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
        [{"deep": object()}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_without_a_place_in_the_format_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match="expected"):
        save_dictionary(tmp_path / "a.npy", {"a": value})
    assert list(tmp_path.iterdir()) == []


def test_only_dictionaries_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a dict, got list"):
        save_dictionary(tmp_path / "a.npy", [1])  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_made_is_the_users_to_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LpcamError, match="cannot write"):
        save_dictionary(tmp_path / "file" / "a.npy", {})


# ------------------------------------------------------------------------------ files of other writers


def npy(content: object, protocol: int = 4, descr: str = "|O", shape: tuple[int, ...] = ()) -> bytes:
    """Return a npy file whose payload is the pickle of ``content`` itself."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + pickle.dumps(content, protocol=protocol)


def holder(content: object) -> np.ndarray:
    array = np.empty((), dtype=object)
    array[()] = content
    return array


FOREIGN = {
    2007000063: np.array([0.0, 1.0], dtype=np.float32),
    "big": np.arange(2000, dtype=">i4").reshape(40, 50).T,
    "scalar": np.float64(3),
    "tensor": torch.arange(6.0).reshape(2, 3)[:, 1:],
    "ordered": OrderedDict(a=1),
    "sets": [{1, 2}, frozenset({3})],
    "objects": np.array(["a", None], dtype=object),
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_files_of_np_save_are_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.npy").write_bytes(npy(holder(FOREIGN), protocol))
    read = load_dictionary(tmp_path / "a.npy")
    for key, value in FOREIGN.items():
        np.testing.assert_array_equal(np.asarray(read[key]), np.asarray(value))
    assert type(read["big"]) is np.ndarray


def test_the_old_and_the_new_name_of_numpys_module_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", holder({"a": np.arange(3)}), allow_pickle=True)
    save_dictionary(tmp_path / "old.npy", {"a": np.arange(3)})
    for name in ("new", "old"):
        assert load_dictionary(tmp_path / f"{name}.npy")["a"].tolist() == [0, 1, 2]


def test_headers_of_version_2_are_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "a.npy").write_bytes(file.getvalue() + pickle.dumps(holder({"a": 1})))
    assert load_dictionary(tmp_path / "a.npy") == {"a": 1}


PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01)cnumpy\ndtype\n"
    b"U\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]}U\x04nameU\x03\xe9\xe8\x00sat\x62."
)


def test_byte_strings_of_python_2_are_read_as_latin_1(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(None)[:128] + PYTHON_2)
    assert load_dictionary(tmp_path / "a.npy") == {"name": "éè\x00"}


def test_torch_is_imported_only_for_tensors(tmp_path: Path) -> None:
    save_dictionary(tmp_path / "a.npy", {"a": np.ones(3)})
    program = (
        "import sys; from pathlib import Path; from lpcam.pickles import load_dictionary, save_dictionary; "
        "save_dictionary(Path(sys.argv[1]), load_dictionary(Path(sys.argv[1]))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.npy")], check=True)


# --------------------------------------------------------------------------------------- hostile files


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.reduced = (function, arguments, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


ATTACKS = {
    "system": lambda canary: Call(os.system, f"touch {canary}"),
    "eval": lambda canary: Call(eval, f"open({str(canary)!r}, 'w')"),
    "partial": lambda canary: Call(functools.partial, os.system, f"touch {canary}"),
    "inside torch": lambda canary: Call(
        torch.storage._load_from_bytes, pickled_for_torch(Call(os.system, f"touch {canary}"))
    ),
}


def pickled_for_torch(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: holder({"a": x})], ids=["bare", "in a dictionary"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_of_a_file_is_run(tmp_path: Path, attack: str, wrap: object) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "a.npy").write_bytes(npy(wrap(ATTACKS[attack](canary))))
    with pytest.raises(LpcamError) as caught:
        load_dictionary(tmp_path / "a.npy")
    assert not canary.exists()
    assert "\n" not in str(caught.value)
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert canary.exists() or attack == "partial"  # the canary can sing


def test_a_refusal_names_the_file_and_the_function_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(holder({"a": Call(os.system, "true")})))
    with pytest.raises(LpcamError, match=r"a\.npy asks for '(posix|nt)\.system', which is not data.*: use the file"):
        load_dictionary(tmp_path / "a.npy")


RECONSTRUCT, EMPTY = np.zeros(1).__reduce__()[:2]
FORGED_DTYPE = Call(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))
SHORT_DTYPE = Call(np.dtype, "U9", False, True, state=(3, "<", None, None, None, 4000, 4, 8))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        # its flags deny that it holds objects: NumPy would take the bytes for a pointer
        (Call(RECONSTRUCT, *EMPTY, state=(1, (1,), FORGED_DTYPE, False, b"A" * 8)), "forged dtype"),
        (Call(np.float32(0).__reduce__()[0], SHORT_DTYPE, b"A" * 36), "forged dtype"),
        (Call(np.dtype, "f4", state=np.zeros(0)), "forged dtype"),
        (Call(np.float32(0).__reduce__()[0], np.dtype("O"), b"A" * 8), "a scalar of objects"),
        (Call(np.dtype, "O,O"), "structured dtype"),
        (Call(np.zeros(1).__reduce_ex__(5)[0], np.zeros(1, object), np.dtype("i8"), (1,), "C"), "a buffer of"),
        (Call(np.ndarray, (3,), "f4"), "damaged"),
        (Call(OrderedDict, [], state={"a": 1}), "the state of a OrderedDict"),
        (Call(torch.storage._load_from_bytes, b"", state={"a": 1}), "damaged"),
        (Call(RECONSTRUCT, *EMPTY, state=(1, (10**15,), np.dtype("O"), False, [])), "damaged"),
    ],
)
def test_forged_states_are_refused_before_they_do_harm(tmp_path: Path, value: object, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(npy(holder({"a": value})))
    with pytest.raises(LpcamError, match=reason):
        load_dictionary(tmp_path / "a.npy")


# --------------------------------------------------------------------------------------- damaged files


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.npy"
    save_dictionary(path, {"keys": np.array([1, 2]), "name": "x", "list": [1.5, {"a": None}], 3: np.float32(2)})
    return path.read_bytes()


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, whole_file: bytes) -> None:
    for length in range(len(whole_file)):
        (tmp_path / "a.npy").write_bytes(whole_file[:length])
        with pytest.raises(LpcamError, match=r"a\.npy") as caught:
            load_dictionary(tmp_path / "a.npy")
        assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_a_dictionary_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, whole_file: bytes, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(whole_file)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path_factory.mktemp("damaged") / "a.npy"
    path.write_bytes(damaged)
    try:
        read = load_dictionary(path)
    except LpcamError:
        return
    assert isinstance(read, dict)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a .npy file"),
        (b"PK\x03\x04 a zip file", "is not a .npy file"),
        (b"\x93NUMPY\x03\x00" + npy(None)[8:], "is not a .npy file"),
        (npy(holder({}), descr="<f4"), "holds an array of float32"),
        (npy(holder({}), shape=(1,)), r"with shape \(1,\)"),
        (npy({}), "holds no dictionary"),
        (npy(holder([1])), "holds no dictionary"),
        (npy(np.array([{}])), "holds no dictionary"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(LpcamError, match=reason):
        load_dictionary(tmp_path / "a.npy")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "a.npy", tmp_path):
        with pytest.raises(LpcamError, match=r"cannot read .*: check the path"):
            load_dictionary(path)
