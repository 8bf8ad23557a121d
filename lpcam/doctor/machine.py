"""The machine: processors, memory, files, GPUs, and what a container leaves of them."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lpcam.doctor.diagnosis import BROKEN, DOUBTFUL, OK, Diagnosis, imported, in_bytes
from lpcam.engines.placement import usable_cores

_CGROUPS = Path("/sys/fs/cgroup")
_DRIVER = Path("/proc/driver/nvidia/version")
_LITTLE, _TOO_LITTLE = 4e9, 1e9  # bytes of memory
_FEW_FILES = 1024
_UNLIMITED = 1 << 60  # what cgroups of version 1 say where there is no limit


def of_machine() -> Iterator[Diagnosis]:
    """Look at what computes."""
    yield processors()
    yield memory()
    yield open_files()
    yield gpus()


def processors() -> Diagnosis:
    """Say how many cores there are, how many this process may use, and whether torch takes more."""
    there, usable, quota = os.cpu_count() or 1, usable_cores(), _quota(_CGROUPS)
    fewest = max(1, min(usable, int(quota) if quota else usable))
    torch: Any = imported("torch")[0]
    threads = torch.get_num_threads() if torch is not None else None
    facts = {"cores": there, "usable": usable, "quota": quota, "threads": threads}
    parts = [f"{there} cores"]
    parts += [f"{usable} of them for this process"] if usable < there else []
    parts += [f"a quota of {quota:g} by the container"] if quota else []
    parts += [f"torch takes {threads}"] if threads else []
    found = ", ".join(parts)
    if threads and threads > fewest:
        return Diagnosis("processors", DOUBTFUL, found, f"export OMP_NUM_THREADS={fewest}, or give --threads", facts)
    return Diagnosis("processors", OK, found, facts=facts)


def memory() -> Diagnosis:
    """Say how much memory there is and how much is free, within the limits of a container and of the shell."""
    total, available, limit = memory_bytes()
    if total is None or available is None:
        return Diagnosis("memory", OK, "cannot be told on this system")
    facts = {"total_bytes": total, "available_bytes": available, "limit_bytes": limit}
    within = f", limited to {in_bytes(limit)}" if limit else ""
    found = f"{in_bytes(available)} free of {in_bytes(total)}{within}"
    if available >= _LITTLE:
        return Diagnosis("memory", OK, found, facts=facts)
    advice = "end other programs, or ask for more: large networks need several GB"
    return Diagnosis("memory", BROKEN if available < _TOO_LITTLE else DOUBTFUL, found, advice, facts)


def memory_bytes() -> tuple[int | None, int | None, int | None]:
    """Return how much memory there is, how much of it is free, and the limit, if any; None where nobody says."""
    entries = _meminfo()
    total, available = entries.get("MemTotal"), entries.get("MemAvailable")
    limits = [(limit, used) for limit, used in (_cgroup_memory(_CGROUPS), _address_space()) if limit is not None]
    for limit, used in limits:
        left = max(0, limit - used)
        available = left if available is None else min(available, left)
    return total, available, min((limit for limit, _ in limits), default=None)


def open_files() -> Diagnosis:
    """Say how many files this process may have open."""
    try:
        import resource
    except ImportError:
        return Diagnosis("open files", OK, "not limited by this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    facts = {"soft": soft, "hard": hard}
    if 0 <= soft < _FEW_FILES:
        return Diagnosis("open files", DOUBTFUL, f"{soft} at most", f"ulimit -n {min(hard, 4 * _FEW_FILES)}", facts)
    return Diagnosis("open files", OK, f"{soft:,} at most" if soft >= 0 else "not limited", facts=facts)


def gpus() -> Diagnosis:
    """Say which GPUs torch sees, and why none where there is a driver."""
    torch: Any = imported("torch")[0]
    driver = _driver()
    if torch is None:
        return Diagnosis("GPUs", OK, "cannot be told without torch" + (f"; driver {driver}" if driver else ""))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = bool(torch.cuda.is_available())
    facts: dict[str, Any] = {"driver": driver, "cuda": torch.version.cuda, "gpus": []}
    if there:
        facts["gpus"] = [_gpu(torch, index) for index in range(torch.cuda.device_count())]
        each = ", ".join(f"{gpu['name']} ({in_bytes(gpu['bytes'])})" for gpu in facts["gpus"])
        versions = f"CUDA {torch.version.cuda}" + (f", driver {driver}" if driver else "")
        return Diagnosis("GPUs", OK, f"{len(facts['gpus'])}: {each}; {versions}", facts=facts)
    if driver is None:
        return Diagnosis("GPUs", OK, "none: the CPU computes", facts=facts)
    if torch.version.cuda is None:
        advice = "install torch for CUDA: https://pytorch.org/get-started/locally"
        return Diagnosis("GPUs", DOUBTFUL, f"driver {driver} is there, and torch is built without CUDA", advice, facts)
    why = " ".join(str(said[0].message).split()) if said else "torch sees none"
    found = f"driver {driver} is there, and torch for CUDA {torch.version.cuda} cannot use it ({why})"
    return Diagnosis("GPUs", DOUBTFUL, found, "update the driver, or look at CUDA_VISIBLE_DEVICES", facts)


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    capability = f"{properties.major}.{properties.minor}"
    return {"name": properties.name, "bytes": int(properties.total_memory), "capability": capability}


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None where there is none."""
    try:
        words = _DRIVER.read_text(encoding="utf-8").split("\n")[0].split()
    except OSError:
        return "of unknown version" if shutil.which("nvidia-smi") else None
    return next((word for word in words if word[0].isdigit() and "." in word), "of unknown version")


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}


def _cgroup_memory(root: Path) -> tuple[int | None, int]:
    """Return the limit of the container's memory, if any, and what is used of it beside files that can be dropped."""
    places = [(place / "memory.max", place / "memory.current", place / "memory.stat") for place in _groups(root)]
    old = root / "memory"
    places.append((old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", old / "memory.stat"))
    found = []
    for limit_file, used_file, stat_file in places:
        limit, used = _number(limit_file), _number(used_file)
        if limit is not None and limit < _UNLIMITED:
            found.append((limit, max(0, (used or 0) - _inactive(stat_file))))
    return min(found, default=(None, 0), key=lambda pair: pair[0] - pair[1])


def _quota(root: Path) -> float | None:
    """Return how many processors a container is given, if it is limited."""
    quotas = []
    for place in _groups(root):
        most, _, period = _text(place / "cpu.max").partition(" ")
        if most.isdigit() and period.isdigit():
            quotas.append(int(most) / int(period))
    most, period = (_text(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if most.isdigit() and period.isdigit():
        quotas.append(int(most) / int(period))
    return min(quotas, default=None)


def _groups(root: Path) -> list[Path]:
    """Return the folders of this process's group of cgroups' version 2, and of those around it."""
    lines = _text(Path("/proc/self/cgroup")).splitlines()
    own = next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
    place = root / own
    return [place, *(parent for parent in place.parents if parent.is_relative_to(root))]


def _inactive(path: Path) -> int:
    pairs = (line.split() for line in _text(path).splitlines())
    return next((int(pair[1]) for pair in pairs if pair[0] in ("inactive_file", "total_inactive_file")), 0)


def _address_space() -> tuple[int | None, int]:
    """Return the limit of ``ulimit -v``, if any, and what is used of it."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(_text(Path("/proc/self/statm")).split()[0])
        return (soft if soft >= 0 else None), pages * resource.getpagesize()
    except (ImportError, IndexError):
        return None, 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
