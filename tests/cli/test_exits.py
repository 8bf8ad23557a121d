"""exits: what the machine refuses is one line and exit code 1; a bug keeps its traceback."""

from __future__ import annotations

import errno

import click
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.exits import ErrorLine

from lpcam.errors import LpcamError


def run(error: BaseException):
    @click.command()
    def command() -> None:
        with ErrorLine():
            raise error

    return CliRunner().invoke(command)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LpcamError("no\nphotos: name some"), "Error: no photos: name some\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "w/a.npy"),
            "Error: No space left on device (w/a.npy): check the disk, its free space and permissions, "
            "then run the same command again\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "Error: Permission denied: check the disk"),
        (MemoryError(), "Error: out of memory: free some, or give a smaller --batch-size or fewer --processes"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "Error: out of memory: free some"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "Error: out of memory: free some"),
        (KeyboardInterrupt(), "Error: interrupted: run the same command again to continue\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, said):
    result = run(error)
    assert result.exit_code == 1
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("a bug"), ValueError("out of memory"), AssertionError()])
def test_a_bug_keeps_its_traceback(error):
    assert run(error).exception is error
