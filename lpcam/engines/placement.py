"""Where the shards of a stage are done: engine, processes, and this process's share of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lpcam.errors import LpcamError, unknown

ENGINES = ("auto", "local", "ray")
ATTEMPTS = 3
"""How often a shard is begun before it is given up because its workers die."""

Item = TypeVar("Item")

Tick = Callable[[int], None]
"""``tick(done)`` says how many photos of the shard are done so far."""

Runner = Callable[[Any, Tick], Any]
"""``run(shard, tick)`` does one shard and returns what it did; shard and result can be pickled."""


class Job(Protocol):
    """What a worker needs to know of a stage; plain data that can be pickled."""

    def open(self, device: str) -> Runner:
        """Open what every shard needs (a classifier, a feature store), once a worker, and return the shard function."""


@dataclass(frozen=True)
class Share:
    """One process's part of the shards: those whose index leaves ``index`` when divided by ``count``.

    >>> Share(1, 3).of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise LpcamError(f"shard {self.index}/{self.count} does not exist: i/n needs 0 ≤ i < n, such as 0/4")

    @property
    def is_all(self) -> bool:
        """Whether there are no other processes."""
        return self.count == 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return this process's items."""
        return list(items[self.index :: self.count])

    @property
    def name(self) -> str:
        """Of a part, such as ``1-of-4``; empty for all."""
        return "" if self.is_all else f"{self.index}-of-{self.count}"

    @classmethod
    def parse(cls, text: str | None, environment: Mapping[str, str] = os.environ) -> Share:
        """Read ``i/n``, or ``auto``: the place that Slurm's array and torchrun gave this process.

        Raises:
            LpcamError: it is neither, or nothing in the environment says which process this is.

        >>> Share.parse("2/8")
        Share(index=2, count=8)
        >>> Share.parse("auto", {"RANK": "1", "WORLD_SIZE": "2"})
        Share(index=1, count=2)
        """
        if text is None:
            return cls()
        if text == "auto":
            return _from_environment(environment)
        first, slash, second = text.partition("/")
        if not (slash and first.strip().isdigit() and second.strip().isdigit()):
            raise LpcamError(f"'{text}' is not a shard: write i/n such as 0/4, or auto under Slurm's array or torchrun")
        return cls(int(first), int(second))


@dataclass(frozen=True)
class Placement:
    """Where the shards of a stage are done; nothing here changes a result, see `threads`.

    Attributes:
        engine: ``local`` (processes of this machine), ``ray``, or ``auto``: local.
        processes: Workers. None: one a GPU where an engine is named; else the stage is done in this process.
        threads: CPU threads a process. None: the cores divided by the processes. The backbone's last bits depend on
            the threads a process has on CPU; name them where runs of different processes must agree to the byte.
        shard: ``i/n`` or ``auto``: do only this share of the shards, others do the rest. See `Share.parse`.
        ray_address: Of a running Ray cluster, such as ``auto``; None starts Ray on this machine.

    Raises:
        LpcamError: an option does not exist or does not go with another.
    """

    engine: str = "auto"
    processes: int | None = None
    threads: int | None = None
    shard: str | None = None
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        for name, value in (("processes", self.processes), ("threads", self.threads)):
            if value is not None and value < 1:
                raise LpcamError(f"{name} is {value}: choose 1 or more")
        if self.ray_address is not None and self.engine != "ray":
            raise LpcamError("a Ray address was given and the engine is not ray: add --engine ray")
        if self.shard not in (None, "auto"):
            Share.parse(self.shard)

    def share(self) -> Share:
        """Return which shards are this process's."""
        return Share.parse(self.shard)

    def refuse_shard(self, stage: str, instead: str) -> None:
        """Raise where a share was asked of a stage that needs everything."""
        if self.shard is not None:
            raise LpcamError(f"{stage} does not take --shard: {instead}")

    def refuse_overwrite(self, overwrite: bool, folder: object) -> None:
        """Raise where a process of several was asked to begin anew."""
        if overwrite and self.shard is not None:
            raise LpcamError(
                "--overwrite with --shard would delete what the other processes write: "
                f"delete {folder} before they start, or choose another place"
            )


def limit_threads(threads: int) -> None:
    """Give this process that many CPU threads, best before torch and FAISS are imported, which read them then."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def usable_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def given_up(times: int, why: str) -> LpcamError:
    """Return the error of a shard whose workers died."""
    return LpcamError(
        f"a worker died {times} times at the same shard ({why}; out of memory?): what is done is kept, "
        "run the same command again, with fewer --processes or a smaller --batch-size"
    )


def _from_environment(environment: Mapping[str, str]) -> Share:
    shares = []
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, step = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", value)) for name, value in (("MIN", 0), ("STEP", 1))
        )
        index = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // max(1, step)
        shares.append(Share(index, int(environment.get("SLURM_ARRAY_TASK_COUNT", 0))))
    if "RANK" in environment and "WORLD_SIZE" in environment:
        shares.append(Share(int(environment["RANK"]), int(environment["WORLD_SIZE"])))
    if not shares:
        raise LpcamError(
            "--shard auto finds neither SLURM_ARRAY_TASK_ID nor RANK and WORLD_SIZE: "
            "start under sbatch --array or torchrun, or write --shard i/n"
        )
    whole = Share()
    for share in shares:
        whole = Share(whole.index * share.count + share.index, whole.count * share.count)
    return whole
