"""tensorfile: back as it was, whole or refused in one line."""

from __future__ import annotations

import pytest
import torch

from lpcam.errors import LpcamError
from lpcam.tensorfile import FileKind, identity

KIND = FileKind("ours", "kind of file", "lpcam make")
TENSORS = {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.bool)}


def load(path):
    return KIND.load(path, lambda tensors, description: (tensors, description))


def test_what_is_saved_comes_back(tmp_path):
    KIND.save(tmp_path / "f.safetensors", TENSORS, '{"k": 3}')
    tensors, description = load(tmp_path / "f.safetensors")
    assert description == {"k": 3}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert len(tensors) == len(TENSORS)


@pytest.mark.parametrize("change", [{"a": torch.arange(3.0) + 1}, {"c": torch.zeros(1)}])
def test_every_byte_and_name_is_part_of_the_identity(change):
    assert identity(TENSORS, "{}") == identity(dict(reversed(TENSORS.items())), "{}")
    assert identity({**TENSORS, **change}, "{}") != identity(TENSORS, "{}") != identity(TENSORS, "{ }")
    assert identity({"a": TENSORS["a"], "c": TENSORS["b"]}, "{}") != identity(TENSORS, "{}")


def test_what_is_missing_damaged_or_another_kind_says_which_command_makes_it(tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(LpcamError, match=r"f.safetensors does not exist: run 'lpcam make' first$"):
        load(path)
    FileKind("another", "file", "x").save(path, TENSORS, "{}")
    with pytest.raises(LpcamError, match=r"not a whole lpcam kind of file \('ours'\): run 'lpcam make --overwrite'"):
        load(path)
    KIND.save(path, TENSORS, "{}")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LpcamError, match=r"not a whole lpcam kind of file \("):
        load(path)


def test_content_that_the_reader_refuses_is_the_files_fault(tmp_path):
    def unpack(tensors, description):
        raise ValueError("schema 9\nand more")

    KIND.save(tmp_path / "f.safetensors", TENSORS, "{}")
    with pytest.raises(LpcamError, match=r"not a whole lpcam kind of file \(schema 9\): run"):
        KIND.load(tmp_path / "f.safetensors", unpack)
