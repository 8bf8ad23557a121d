"""How long ``import lpcam`` and ``lpcam --help`` take, beside a bare interpreter, and what they import.

Beside them ``lpcam generate`` on a single photo, as a command of its own: what it takes outside of the network's
forward passes is the price of starting (torch's own import, the checkpoint, the prototypes). One network is of
torchvision, which the command imports then, and one is lpcam's own.

The command is the installed script next to this Python, or ``python -m cli`` in the tree where there is none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photos import VOC_SIZE, write_classifier, write_photos, write_prototypes
from benchmarks.record import ROOT, Check, Findings, command, measure, measure_in_turns
from lpcam.corridor import extract_features
from lpcam.records import Execution
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace

HEAVY = ("torch", "faiss", "cv2", "torchvision", "numpy", "matplotlib", "sklearn")
FORBIDDEN = ("torch", "faiss", "cv2")
_LIGHT = ("import lpcam", "lpcam --help")


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        rounds: Times each is started, after once that warms up.
        photo_rounds: Likewise of ``lpcam generate``.
        archs: Networks that ``lpcam generate`` is started with.
        size: (H, W) of the photo.
    """

    rounds: int = 1
    photo_rounds: int = 1
    archs: tuple[str, ...] = ("torchvision/mobilenet_v2", "resnet50")
    size: tuple[int, int] = VOC_SIZE


DRY = Settings(rounds=1, archs=("resnet50",), size=(64, 80))


def run(settings: Settings) -> Findings:
    """Start each several times in turns, and those that should be light once more to list their imports."""
    commands = _commands()
    calls = {name: _starter(arguments) for name, arguments in commands.items()}
    timings = measure_in_turns(calls, repeats=settings.rounds)
    results: dict[str, Any] = {}
    checks = []
    for name, arguments in commands.items():
        results[name] = {"argv": [_shown(word) for word in arguments], **timings[name].as_json()}
    for name in _LIGHT:
        heavy = results[name]["heavy_imports"] = imported(commands[name], HEAVY)
        unwanted = len(set(heavy) & set(FORBIDDEN))
        checks.append(Check(f"{name}: imports of {', '.join(FORBIDDEN)}", unwanted, 0, "at most", equality=True))
        checks.append(Check(f"{name}: seconds", timings[name].median, 0.3, "at most"))
    for arch in settings.archs:
        results[f"lpcam generate, one photo, {arch}"] = one_photo(arch, settings.photo_rounds, settings.size)
    return Findings(results, tuple(checks))


def one_photo(arch: str, rounds: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return the medians of the seconds of ``lpcam generate`` on one photo: all, the stage within, its forwards.

    Args:
        arch: Of the network.
        rounds: Times it is started.
        size: (H, W) of the photo.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace = Workspace(root / "work")
        source = write_classifier(arch, root / "weights.pth")
        photo = write_photos(root, 1, size=size)
        extract_features(workspace, photo, source, scales=(1.0,), execution=Execution("cpu"))
        write_prototypes(workspace, 12, 9)
        scales = ",".join(f"{scale:g}" for scale in PUBLISHED_SCALES)
        options = ["--scales", scales, "--overwrite", "--device", "cpu", "--json"]
        arguments = ["generate", "-w", str(workspace.root), *options]
        reports, seconds = [], []
        for _ in range(rounds + 1):
            timing = measure(lambda: reports.append(_start([*_program(), *arguments]).stdout), repeats=1, warmup=0)
            seconds.append(timing.median)
    stages = [json.loads(report) for report in reports]
    medians = {
        "seconds": float(np.median(seconds[1:])),  # the first warms up
        "of the stage": float(np.median([stage["seconds"] for stage in stages[1:]])),
        "of the forwards": float(np.median([stage["backbone_seconds"] for stage in stages[1:]])),
    }
    return {**medians, "outside of the forwards": medians["seconds"] - medians["of the forwards"]}


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
    return {
        "bare python": [sys.executable, "-c", "pass"],
        "import lpcam": [sys.executable, "-c", "import lpcam"],
        "lpcam --help": [*_program(), "--help"],
        "import torch, which lpcam generate cannot do without": [sys.executable, "-c", "import torch"],
        "import torchvision, which torchvision/NAME cannot do without": [sys.executable, "-c", "import torchvision"],
    }


def _program() -> list[str]:
    script = Path(sys.executable).parent / "lpcam"
    return [sys.executable, str(script)] if script.exists() else [sys.executable, "-m", "cli"]


def _starter(arguments: Sequence[str]) -> Any:
    return lambda: _start(arguments)


def _start(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def _shown(word: str) -> str:
    return Path(word).name if os.sep in word else word


if __name__ == "__main__":
    command("startup", __doc__ or "", run, full=Settings(), dry=DRY)
