"""A write that fails costs nothing but the time to run again: the short form of ``python -m tests.torture.failing``."""

from __future__ import annotations

import sys

import pytest

from tests.torture.failing import can_mount, faults, fill, snapshots
from tests.torture.killing import STAGES, prepare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and disks mounted as on Linux")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A small data set, and the workspace before every command and after the last."""
    root = tmp_path_factory.mktemp("failing")
    prepare(root)
    return root, snapshots(root)


def test_each_write_of_each_stage_may_fail(kept):
    root, workspaces = kept
    assert all(writes > 3 for _, writes in workspaces[:-1])
    found = list(faults(root, workspaces, each=2))
    assert [fault for fault in found if fault.wrong] == []
    assert len(found) == 2 * len(STAGES)
    assert sum(fault.code == 1 for fault in found) > len(found) // 4, "many writes are needed"


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(kept):
    root, workspaces = kept
    found = list(fill(root, workspaces[-1][0], 2))
    assert [wrong for _, _, wrong in found] == ["", "", ""]
    ended = [ended for _, ended, _ in found]
    assert ended == sorted(ended)
    assert ended[0] < ended[-1] == len(STAGES)
