"""checksums: what sha256sum says too; what is cut off, changed or unknown."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from lpcam import files
from lpcam.checksums import SUMS, forget, journal, keep_sound, read_sums, require_sound, settle, sha256_of
from lpcam.errors import LpcamError

NAMES = ("a.npy", "deep/b.npy", "ü 2.png")


@pytest.fixture
def folder(tmp_path):
    """A folder of files, each noted in a journal."""
    note = journal(tmp_path, "t1")
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name * 100_000)
        note(tmp_path / name)
    return tmp_path


def keep(folder, names=NAMES):
    return keep_sound(folder, [folder / name for name in names], lambda done, total: None)


def test_the_sum_is_sha256(folder):
    assert sha256_of(folder / "a.npy") == hashlib.sha256(b"a.npy" * 100_000).hexdigest()


def test_journals_are_read_and_settled_into_what_sha256sum_reads(folder):
    expected = {name: sha256_of(folder / name) for name in NAMES}
    assert read_sums(folder) == expected
    settle(folder, "t1")
    assert read_sums(folder) == expected
    assert [path.name for path in folder.glob(f".{SUMS}-*")] == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, check=True, capture_output=True)


def test_what_is_settled_does_not_depend_on_the_order_or_on_how_often(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    forget(other)
    for token, name in (("x", NAMES[2]), ("y", NAMES[0]), ("x", NAMES[1])):
        journal(other, token)(other / name)
        settle(other, token)
    settle(folder, None)
    settle(folder, None)
    assert (folder / SUMS).read_bytes() == (other / SUMS).read_bytes()


def test_only_journals_of_ones_own_and_of_the_dead_are_settled(folder, monkeypatch):
    dead = f"{files._machine()}-999999999-0"
    for token in ("t2", dead):
        journal(folder, token)(folder / "a.npy")
    settle(folder, "t1")
    (left,) = folder.glob(f".{SUMS}-*")
    assert "t2" in left.name
    settle(folder, None)
    assert list(folder.glob(f".{SUMS}-*")) == []


def test_a_changed_file_is_removed_and_named_an_unknown_one_only_removed(folder):
    (folder / "deep/b.npy").write_text("b")
    (folder / "c.npy").write_text("c")
    assert keep(folder, (*NAMES, "c.npy", "missing.npy")) == ("deep/b.npy",)
    assert [(folder / name).exists() for name in (*NAMES, "c.npy")] == [True, False, True, False]


def test_a_line_that_was_cut_off_is_no_line(folder):
    (path,) = folder.glob(f".{SUMS}-*")
    for cut in (1, 10, 80):
        path.write_bytes(path.read_bytes()[:-cut])
        assert "ü 2.png" not in read_sums(folder)
        assert "a.npy" in read_sums(folder)


def test_the_last_line_of_a_file_counts(folder):
    (folder / "a.npy").write_text("new")
    assert keep(folder) == ("a.npy",)
    (folder / "a.npy").write_text("new")
    journal(folder, "t1")(folder / "a.npy")
    assert keep(folder) == ()


def test_threads_share_a_journal(tmp_path):
    note = journal(tmp_path, "t")

    def write(index: int) -> None:
        (tmp_path / f"{index}").write_text(str(index))
        note(tmp_path / f"{index}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(300)))
    assert keep(tmp_path, [str(index) for index in range(300)]) == ()
    assert len(read_sums(tmp_path)) == 300


def test_what_is_read_is_what_was_written(folder):
    sums = read_sums(folder)
    require_sound(folder / "a.npy", folder, sums, "x")
    (folder / "a.npy").write_text("other")
    with pytest.raises(LpcamError, match=r"a.npy is damaged, its checksum does not hold: make it again$"):
        require_sound(folder / "a.npy", folder, sums, "make it again")
    (folder / "new").write_text("")
    require_sound(folder / "new", folder, sums, "x")


def test_a_journal_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / f".{SUMS}-t-{files.os.getpid()}").mkdir()
    with pytest.raises(LpcamError, match="cannot write"):
        journal(tmp_path, "t")(tmp_path / "a")
