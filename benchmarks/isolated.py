"""A function in a process of its own, and the memory it takes there (Linux)."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT
from lpcam.errors import LpcamError
from lpcam.memory import release_memory


def in_new_process(function: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    """Call a module's function in a fresh Python and return its answer.

    Args:
        function: Takes and returns JSON values; found again by module and name.
        **arguments: Its keyword arguments.

    Raises:
        LpcamError: the process failed.
    """
    task = json.dumps([_module_of(function), function.__name__, arguments])
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.isolated", task],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise LpcamError(f"{function.__name__} failed in its own process: see\n{answer.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def peak_growth(call: Callable[[], object]) -> int:
    """Return by how many bytes the process's peak resident memory rises above its level before the call.

    What was freed before the call is given back to the system first, so that the call cannot hide in it.

    Raises:
        LpcamError: the system is not Linux.
    """
    release_memory()
    reset_peak()
    before = _status_bytes("VmRSS")
    kept = call()
    growth = peak() - before
    del kept
    return growth


def reset_peak() -> None:
    """Set the process's peak resident memory to what it holds now.

    Raises:
        LpcamError: the system is not Linux.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        raise LpcamError(f"peak memory cannot be measured here ({error}): run this benchmark on Linux") from error


def peak() -> int:
    """Return the process's peak resident memory since `reset_peak`, in bytes."""
    return _status_bytes("VmHWM")


def _module_of(function: Callable[..., object]) -> str:
    spec = sys.modules[function.__module__].__spec__  # says its own name even of the module run as __main__
    return spec.name if spec else function.__module__


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LpcamError(f"/proc/self/status lacks {field}: run this benchmark on Linux")


def _main() -> None:
    module, name, arguments = json.loads(sys.argv[1])
    print(json.dumps(getattr(importlib.import_module(module), name)(**arguments)))


if __name__ == "__main__":
    _main()
