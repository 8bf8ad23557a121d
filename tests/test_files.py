"""files: whole or not there, and errors that say what to do."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lpcam.errors import LpcamError
from lpcam.files import read_json, sweep, write_atomically, write_json


def test_what_is_sealed_is_refused_once_it_changed(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": {"1": 0.1, "ü": None}, "a": [2]}, sealed=True)
    assert read_json(path, repair="") == {"a": [2], "b": {"1": 0.1, "ü": None}}
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(LpcamError, match=r"a.json is damaged or was changed by hand.*: make it again$"):
        read_json(path, repair="make it again")


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


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_json(path, {"a": 1}), range(200)))
    assert read_json(path, repair="") == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_process_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    for name in ("old.npy.partial-1", "new.npy.partial-2", "a.npy"):
        (tmp_path / name).write_text("")
    os.utime(tmp_path / "old.npy.partial-1", (0, 0))
    os.utime(tmp_path / "a.npy", (0, 0))
    sweep(tmp_path)
    sweep(tmp_path / "missing")
    assert {entry.name for entry in tmp_path.iterdir()} == {"new.npy.partial-2", "a.npy"}


@pytest.mark.skipif(sys.platform != "linux", reason="process numbers are told from another machine's on Linux only")
def test_what_dead_processes_left_is_swept_at_once(tmp_path):
    path = tmp_path / "a.npy"
    child = os.fork()
    if child == 0:
        write_atomically(path, lambda partial: (partial.write_text("half"), os._exit(0)))
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    elsewhere = left.with_name(left.name.replace("partial-", "partial-f"))
    elsewhere.write_text("of another machine")

    def look(partial):
        assert partial.exists()
        sweep(tmp_path)
        assert {entry.name for entry in tmp_path.iterdir()} == {elsewhere.name, partial.name}
        partial.write_text("whole")

    write_atomically(path, lambda partial: (partial.write_text(""), look(partial)))
    assert {entry.name for entry in tmp_path.iterdir()} == {elsewhere.name, "a.npy"}


def test_the_partial_name_does_not_reach_the_bytes(tmp_path):
    import torch

    path = tmp_path / "a.pth"
    found = []
    for _ in range(2):
        write_atomically(path, lambda partial: torch.save({"a": torch.zeros(2)}, partial))
        found.append(path.read_bytes())
    assert found[0] == found[1]
