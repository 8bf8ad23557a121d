"""How long ``import lpcam`` and ``lpcam --help`` take, beside a bare interpreter, and what they import.

The command is the installed script next to this Python, or ``python -m cli`` in the tree where there is none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, Check, Findings, command, measure_in_turns

HEAVY = ("torch", "faiss", "cv2", "torchvision", "numpy", "matplotlib", "sklearn")
FORBIDDEN = ("torch", "faiss", "cv2")


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        rounds: Times each is started.
    """

    rounds: int = 10


def run(settings: Settings) -> Findings:
    """Start each several times in turns, and once more to list its imports."""
    commands = _commands()
    calls = {name: _starter(arguments) for name, arguments in commands.items()}
    timings = measure_in_turns(calls, repeats=settings.rounds, warmup=2)
    results: dict[str, Any] = {}
    checks = []
    for name, arguments in commands.items():
        heavy = imported(arguments, HEAVY)
        results[name] = {
            "argv": [_shown(word) for word in arguments],
            **timings[name].as_json(),
            "heavy_imports": heavy,
        }
        if name != "bare python":
            unwanted = len(set(heavy) & set(FORBIDDEN))
            checks.append(Check(f"{name}: imports of {', '.join(FORBIDDEN)}", unwanted, 0, "at most", equality=True))
            checks.append(Check(f"{name}: seconds", timings[name].median, 0.3, "at most"))
    return Findings(results, tuple(checks))


def imported(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return which of some packages a Python command imports.

    Args:
        arguments: The command, a Python interpreter first.
        names: Top-level packages.
    """
    answer = _start([arguments[0], "-X", "importtime", *arguments[1:]])
    modules = {
        line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if line.startswith("import time:")
    }
    return [name for name in names if name in modules]


def _commands() -> dict[str, list[str]]:
    script = Path(sys.executable).parent / "lpcam"
    help_command = [str(script), "--help"] if script.exists() else ["-m", "cli", "--help"]
    return {
        "bare python": [sys.executable, "-c", "pass"],
        "import lpcam": [sys.executable, "-c", "import lpcam"],
        "lpcam --help": [sys.executable, *help_command],
    }


def _starter(arguments: Sequence[str]) -> Any:
    return lambda: _start(arguments)


def _start(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def _shown(word: str) -> str:
    return Path(word).name if os.sep in word else word


if __name__ == "__main__":
    command("startup", __doc__ or "", run, full=Settings(), dry=Settings(rounds=1))
