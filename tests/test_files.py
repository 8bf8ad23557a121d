"""files: whole or not there, and errors that say what to do."""

from __future__ import annotations

import os

import pytest

from lpcam.errors import LpcamError
from lpcam.files import read_json, write_atomically, write_json


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half")
        raise RuntimeError("injected")

    with pytest.raises(RuntimeError, match="injected"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_line(tmp_path):
    def fail(partial):
        raise OSError(28, "No space left on device")

    with pytest.raises(LpcamError, match=r"No space left on device.*free space"):
        write_atomically(tmp_path / "a.txt", fail)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(LpcamError, match="check permissions"):
        write_json(tmp_path / "a.json", {})


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(LpcamError, match="cannot write"):
        write_json(tmp_path / "a" / "b.json", {})


def test_json_round_trip(tmp_path):
    write_json(tmp_path / "x" / "a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "x" / "a.json", repair="") == {"ü": [1, None]}


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff\xfe"])
def test_damaged_json_says_how_to_repair(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(LpcamError, match="run it again"):
        read_json(tmp_path / "a.json", repair="run it again")
