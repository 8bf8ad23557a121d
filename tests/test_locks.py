"""locks: one at a time, shares side by side, the holder is named, and nothing outlives its process."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lpcam.errors import LpcamError
from lpcam.locks import file_lock, folder_lock, locked, reading, working_on

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")

HOLD = """
import sys, time
from pathlib import Path
from lpcam.locks import reading, working_on
path, share = Path(sys.argv[1]), sys.argv[2]
with working_on(path, stage="lpcam generate", share=share):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds a lock, or a share of it, and end it afterwards."""
    started = []

    def start(share: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(folder_lock(tmp_path)), share]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def begin(lock, share: str = "") -> tuple[threading.Thread, threading.Event]:
    """Ask for a lock in a thread; the event says when it was given."""
    given = threading.Event()

    def ask() -> None:
        with working_on(lock, stage="lpcam evaluate", share=share):
            given.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread, given


@pytest.mark.parametrize(
    ("theirs", "mine", "waits"),
    [
        ("", "", True),
        ("", "0-of-2", True),
        ("0-of-2", "", True),
        ("0-of-2", "0-of-2", True),
        ("0-of-2", "1-of-2", False),
    ],
)
def test_who_waits_for_whom_is_told_and_goes_on_when_the_other_dies(tmp_path, holder, caplog, theirs, mine, waits):
    other = holder(theirs)
    with caplog.at_level(logging.WARNING):
        thread, given = begin(folder_lock(tmp_path), mine)
        assert given.wait(0.5) is not waits
        if waits:
            (record,) = caplog.records
            assert f"waiting for lpcam generate, process {other.pid} on " in record.getMessage()
            other.send_signal(signal.SIGKILL)
        thread.join(10)
    assert given.is_set()


def test_a_lock_of_a_dead_process_is_free_at_once(tmp_path, holder, caplog):
    other = holder()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert f"process {other.pid} " in folder_lock(tmp_path).read_text()
    with working_on(folder_lock(tmp_path), stage="lpcam generate"):
        assert f"process {os.getpid()} " in folder_lock(tmp_path).read_text()
    assert folder_lock(tmp_path).read_text() == ""
    assert caplog.records == []


def test_readers_share_and_writers_wait_for_them(tmp_path):
    lock = file_lock(tmp_path / "a.safetensors")
    with reading(lock, stage="lpcam cluster"):
        with reading(lock, stage="lpcam cluster"):
            pass
        thread, given = begin(lock)
        assert not given.wait(0.3)
    thread.join(10)
    assert given.is_set()


def test_a_folder_that_cannot_be_written_to_is_read_without_a_lock(tmp_path):
    (tmp_path / "a").write_text("")
    with reading(tmp_path / "a" / ".lock", stage="lpcam cluster"):
        pass


def test_two_who_need_the_same_two_locks_never_wait_for_one_another(tmp_path):
    locks = folder_lock(tmp_path / "a"), folder_lock(tmp_path / "b")

    def both(index: int) -> None:
        for _ in range(50):
            with working_on(*(locks if index % 2 else reversed(locks)), stage="lpcam generate"):
                time.sleep(0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(both, range(4), timeout=30))


def test_a_lock_lets_one_in_at_a_time(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")

    def add(_: int) -> None:
        with locked(tmp_path / "w" / ".lock"):
            count.write_text(str(int(count.read_text()) + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(200)))
    assert count.read_text() == "200"


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "a").write_text("")
    for lock in (locked(tmp_path / "a" / ".lock"), working_on(tmp_path / "a" / ".lock", stage="x")):
        with pytest.raises(LpcamError, match="check permissions"), lock:
            pass
