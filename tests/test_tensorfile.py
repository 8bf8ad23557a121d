"""tensorfile: back as it was, whole or refused in one line."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file

from lpcam import tensorfile
from lpcam.errors import LpcamError
from lpcam.tensorfile import FileKind, identity, require_checksum
from tests.torture.limits import limited_file_size

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


@pytest.mark.parametrize("what", ["tensor", "name", "description", "checksum"])
def test_one_changed_byte_is_found_whatever_it_belongs_to(tmp_path, what):
    path = tmp_path / "f.safetensors"
    KIND.save(path, TENSORS, '{"k": 3}')
    content = path.read_bytes()
    before, after = {
        "tensor": (bytes(TENSORS["a"].numpy()), bytes(torch.tensor([0.0, 1.0, 3.0]).numpy())),
        "name": (b'"b":', b'"c":'),
        "description": (b'\\"k\\": 3', b'\\"k\\": 4'),
        "checksum": (b'\\"sha256\\": \\"', b'\\"sha256\\": \\"0'),
    }[what]
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after)[: len(content)] if what != "checksum" else _with(content, before))
    with pytest.raises(LpcamError, match="checksum does not hold"):
        load(path)
    with pytest.raises(ValueError, match="checksum does not hold"):
        require_checksum(path, "ours")


def _with(content: bytes, mark: bytes) -> bytes:
    """Change the first digit behind a mark."""
    place = content.index(mark) + len(mark)
    other = b"1" if content[place : place + 1] == b"0" else b"0"
    return content[:place] + other + content[place + 1 :]


def test_the_checksum_is_the_same_however_many_blocks_it_is_read_in(tmp_path, monkeypatch):
    tensors = {"a": torch.arange(60.0).view(20, 3), "b": torch.zeros(0, 4), "c": torch.tensor(2.5)}
    KIND.save(tmp_path / "f.safetensors", tensors, "{}")
    for block in (1, 24, 1 << 24):
        monkeypatch.setattr(tensorfile, "_BLOCK", block)
        require_checksum(tmp_path / "f.safetensors", "ours")


def test_a_file_from_before_there_were_checksums_is_read(tmp_path):
    save_file(TENSORS, tmp_path / "f.safetensors", {"ours": '{"k": 3}'})
    assert load(tmp_path / "f.safetensors")[1] == {"k": 3}


@pytest.mark.skipif(sys.platform != "linux", reason="file sizes are limited as on Linux")
def test_a_disk_that_is_full_is_said_in_one_line_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.safetensors"
    KIND.save(path, TENSORS, '{"k": 3}')
    with limited_file_size(4096), pytest.raises(LpcamError, match=r"cannot write .*File too large.*free space"):
        KIND.save(path, {"a": torch.zeros(10_000)}, "{}")
    assert load(path)[1] == {"k": 3}
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.safetensors"]


def test_content_that_the_reader_refuses_is_the_files_fault(tmp_path):
    def unpack(tensors, description):
        raise ValueError("schema 9\nand more")

    KIND.save(tmp_path / "f.safetensors", TENSORS, "{}")
    with pytest.raises(LpcamError, match=r"not a whole lpcam kind of file \(schema 9\): run"):
        KIND.load(tmp_path / "f.safetensors", unpack)
