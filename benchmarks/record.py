"""The record of a benchmark: what was asked, on what, what came out, and whether the outputs were equal.

Every benchmark is a module with ``run(settings) -> Findings``; `command` gives it a command line, the environment
and a JSON file of one schema. `validate` says whether a file keeps the contract of README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from lpcam.files import write_json

SCHEMA = 1
RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent

_DISTRIBUTIONS = (
    *("torch", "torchvision", "numpy", "faiss-gpu", "faiss-cpu", "scikit-learn", "pillow", "opencv-python"),
    *("safetensors", "kmeans-pytorch", "fast-pytorch-kmeans", "torchcam", "grad-cam", "openvino"),
)
_KEYS = {"schema", "benchmark", "dry_run", "environment", "settings", "results", "checks"}
_OPTIONAL_KEYS = {"seconds"}
_ENVIRONMENT_KEYS = {
    *("commit", "dirty", "date", "python", "versions", "system", "cpu", "cores", "usable_cores"),
    *("threads", "memory_bytes", "load_average", "device"),
}

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls, after warm-up, each with the device synchronised inside the timed region.

    Attributes:
        seconds: Of every call that counts.
        warmup: Calls before them that do not.
    """

    seconds: tuple[float, ...]
    warmup: int

    @property
    def median(self) -> float:
        """The number that is reported."""
        return float(np.median(self.seconds))

    def as_json(self) -> dict[str, Any]:
        """Return median, quartiles, inter-quartile range and every single time."""
        low, high = (float(value) for value in np.percentile(self.seconds, [25, 75]))
        return {
            "median": self.median,
            "quartiles": [low, high],
            "iqr": high - low,
            "repeats": len(self.seconds),
            "warmup": self.warmup,
            "seconds": list(self.seconds),
        }


@dataclass(frozen=True)
class Check:
    """A number held against a limit.

    Attributes:
        name: What is claimed.
        value: What was measured.
        limit: What it is held against.
        relation: ``at most`` or ``at least``.
        equality: It says that the outputs are equal; without it no speed counts, so it must pass. Any other
            check is a target: missing one is a result and is kept.
    """

    name: str
    value: float
    limit: float
    relation: str
    equality: bool = False

    @property
    def passed(self) -> bool:
        """Whether the limit is kept."""
        return self.value <= self.limit if self.relation == "at most" else self.value >= self.limit

    def as_json(self) -> dict[str, Any]:
        """Return all of it with the verdict."""
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True)
class Findings:
    """What a benchmark found.

    Attributes:
        results: JSON values.
        checks: Numbers held against limits.
    """

    results: dict[str, Any]
    checks: tuple[Check, ...] = field(default=())


def measure(call: Callable[[], object], *, repeats: int = 7, warmup: int = 1, device: str = "cpu") -> Timing:
    """Time a call.

    Args:
        call: Does the work.
        repeats: Calls that count, ≥ 1.
        warmup: Calls before them.
        device: Synchronised before the clock is read.
    """
    return measure_in_turns({"call": call}, repeats=repeats, warmup=warmup, device=device)["call"]


def measure_in_turns(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 7, warmup: int = 1, device: str = "cpu"
) -> dict[str, Timing]:
    """Time several calls side by side: every round runs each once, so that a busy moment meets all of them.

    Args:
        calls: By name.
        repeats: Rounds that count, ≥ 1.
        warmup: Rounds before them.
        device: Synchronised before the clock is read.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with _without_garbage_collection():
        for _ in range(warmup + repeats):
            for name, call in calls.items():
                seconds[name].append(_seconds_of(call, device))
    return {name: Timing(tuple(times[warmup:]), warmup) for name, times in seconds.items()}


def environment(device: str = "cpu") -> dict[str, Any]:
    """Return where and on what a benchmark runs; called before it runs, so that the load is that of others."""
    return {
        "commit": _commit(),
        "dirty": _is_dirty(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _DISTRIBUTIONS},
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": list(os.getloadavg()),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
    }


def command(
    name: str,
    description: str,
    run: Callable[[Settings], Findings],
    *,
    full: Settings,
    dry: Settings,
    argv: Sequence[str] | None = None,
) -> None:
    """Be the command line of a benchmark without options of its own.

    Args:
        name: Of the benchmark and its JSON file.
        description: Shown by ``--help``; the first line of a docstring will do.
        run: Does the work.
        full: Settings that count, a dataclass.
        dry: Tiny ones that only show that it runs.
        argv: Arguments; those of the process when None.
    """
    arguments = parser(description).parse_args(argv)
    settings = dry if arguments.dry_run else full
    before = environment()
    conclude(name, before, settings, run(settings), arguments)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options every benchmark has."""
    result = argparse.ArgumentParser(description=description.partition("\n")[0])
    result.add_argument("--dry-run", action="store_true", help="tiny sizes; only shows that the benchmark runs")
    result.add_argument("--out", type=Path, default=None, help=f"folder of the JSON file (default {RESULTS})")
    return result


def conclude(
    name: str, before: dict[str, Any], settings: Any, findings: Findings, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Print and write a result; a dry run writes only where ``--out`` says.

    Args:
        name: Of the file.
        before: `environment`, taken before the run.
        settings: A dataclass.
        findings: What came out.
        arguments: Of `parser`.

    Returns:
        The record.
    """
    record = {
        "schema": SCHEMA,
        "benchmark": name,
        "dry_run": bool(arguments.dry_run),
        "seconds": (datetime.now(UTC) - datetime.fromisoformat(before["date"])).total_seconds(),
        "environment": before,
        "settings": json.loads(json.dumps(asdict(settings), default=str)),
        "results": findings.results,
        "checks": [check.as_json() for check in findings.checks],
    }
    print(json.dumps(_brief(record["results"]), indent=1, ensure_ascii=False))
    for check in findings.checks:
        verdict = "ok" if check.passed else "MISSED"
        print(f"{verdict}: {check.name}: {check.value:.6g}, {check.relation} {check.limit:g}")
    if arguments.out or not arguments.dry_run:
        print(f"written: {write_result(name, record, arguments.out or RESULTS)}")
    return record


def write_result(name: str, record: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Validate a record and write it to ``{folder}/{name}.json``.

    Raises:
        ValueError: the record breaks the contract.
    """
    validate(record)
    path = folder / f"{name}.json"
    write_json(path, record)
    return path


def validate(record: dict[str, Any]) -> None:
    """Hold a record against the contract of README.md.

    Raises:
        ValueError: what is missing, of another schema, not finite, or says that the outputs were not equal.
    """
    _require(record.get("schema") == SCHEMA, f"schema {SCHEMA}, got {record.get('schema')}")
    _require(set(record) - _OPTIONAL_KEYS == _KEYS, f"the keys {sorted(_KEYS)}, got {sorted(record)}")
    where = record["environment"]
    _require(set(where) >= _ENVIRONMENT_KEYS, f"an environment with {sorted(_ENVIRONMENT_KEYS - set(where))}")
    _require(bool(record["settings"]) and bool(record["results"]), "settings and results that are not empty")
    _require(_all_finite(record), "finite numbers only")
    for check in record["checks"]:
        entry = Check(**{key: value for key, value in check.items() if key != "passed"})
        _require(entry.relation in {"at most", "at least"}, f"a known relation, got '{entry.relation}'")
        _require(entry.passed == check["passed"], f"a verdict that follows from the numbers of '{entry.name}'")
        _require(entry.passed or not entry.equality, f"equal outputs: '{entry.name}' is {entry.value}")


def _brief(value: Any) -> Any:
    """Return a value for the screen: long lists by their length, numbers to six digits."""
    if isinstance(value, dict):
        return {key: _brief(item) for key, item in value.items()}
    if isinstance(value, list):
        return f"{len(value)} values" if len(value) > 4 else [_brief(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _seconds_of(call: Callable[[], object], device: str) -> float:
    _synchronise(device)
    started = time.perf_counter()
    result = call()
    _synchronise(device)
    seconds = time.perf_counter() - started
    del result  # giving its memory back is not timed
    return seconds


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _commit() -> str:
    return _git("rev-parse", "HEAD") or os.environ.get("LPCAM_COMMIT", "unknown")


def _is_dirty() -> bool | None:
    """Return whether files of the tree, results aside, differ from the commit; None where nobody knows."""
    changes = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return None if changes is None else bool(changes)


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _require(kept: bool, expected: str) -> None:
    if not kept:
        raise ValueError(f"a benchmark record must have {expected}")


def _all_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_all_finite, value.values()))
    if isinstance(value, list):
        return all(map(_all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
