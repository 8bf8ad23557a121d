"""Several processes of this machine: each opens the job once and is handed one shard after the other.

What is pickled goes between this process and its own children only.
"""

from __future__ import annotations

import pickle
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from lpcam.engines.placement import ATTEMPTS, Job, Runner, given_up, limit_threads
from lpcam.errors import LpcamError, of_system
from lpcam.interrupts import asked, stop_here

_SECONDS_TO_LEAVE = 10.0
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)


def map_on_processes(
    job: Job, shards: Sequence[Any], devices: Sequence[str], threads: int, counted: Callable[[int, int], None]
) -> list[Any]:
    """Do the shards on as many processes as there are devices; see `lpcam.engines.map_shards`.

    A shard whose process was killed is handed to a new one, three times at most. However this ends, no process stays:
    they are asked to leave, which lets a write end, and killed when they do not.
    """
    pool = _Pool(job, shards, threads, counted)
    try:
        for device in devices[: len(shards)]:
            pool.hire(device)
        while len(pool.results) < len(shards):
            if not pool.is_busy():
                stop_here()
            pool.listen()
        pool.dismiss()
    except BaseException:
        pool.stop()
        raise
    return [pool.results[index] for index in range(len(shards))]


class _Pool:
    """The processes, what each is doing, and what is left."""

    def __init__(self, job: Job, shards: Sequence[Any], threads: int, counted: Callable[[int, int], None]) -> None:
        self._context = get_context("spawn")
        self._job, self._shards, self._threads, self._counted = pickle.dumps(job), shards, threads, counted
        self._waiting = deque(range(len(shards)))
        self._begun: Counter[int] = Counter()
        self._workers: dict[Connection, tuple[BaseProcess, str]] = {}
        self._doing: dict[Connection, int] = {}
        self.results: dict[int, Any] = {}

    def hire(self, device: str) -> None:
        """Start a process and hand it a shard."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._job, device, self._threads), daemon=True)
        process.start()
        theirs.close()  # so that a dead child is the end of the pipe
        self._workers[ours] = (process, device)
        self._hand_out(ours)

    def listen(self) -> None:
        """Wait for the processes and take what they say."""
        for channel in cast("list[Connection]", wait(list(self._workers))):
            try:
                kind, index, value = pickle.loads(channel.recv_bytes())  # noqa: S301
            except (*_GONE, OSError):
                self._replace(channel)
                continue
            self._take(channel, kind, index, value)

    def is_busy(self) -> bool:
        """Return whether a process has a shard in hand."""
        return bool(self._doing)

    def dismiss(self) -> None:
        """Let the processes go: the end of the pipe is the end of their work."""
        for channel in self._workers:
            channel.close()
        for process, _ in self._workers.values():
            process.join(_SECONDS_TO_LEAVE)
        self.stop()

    def stop(self) -> None:
        """End every process, cleanly where it lets us."""
        for process, _ in self._workers.values():
            process.terminate()
        for process, _ in self._workers.values():
            process.join(_SECONDS_TO_LEAVE)
            process.kill()
            process.join()

    def _take(self, channel: Connection, kind: str, index: int, value: Any) -> None:
        if kind == "tick":
            self._counted(index, value)
        elif kind == "done":
            self.results[index] = value
            self._counted(index, sys.maxsize)
            self._hand_out(channel)
        elif kind == "refused":
            raise LpcamError(value)
        else:
            raise RuntimeError(f"a worker process failed:\n{value}")

    def _hand_out(self, channel: Connection) -> None:
        self._doing.pop(channel, None)
        if self._waiting and not asked():
            index = self._waiting.popleft()
            self._doing[channel] = index
            self._begun[index] += 1
            try:
                channel.send_bytes(pickle.dumps((index, self._shards[index])))
            except _GONE:
                return  # listening to it says the same

    def _replace(self, channel: Connection) -> None:
        process, device = self._workers.pop(channel)
        channel.close()
        process.join()
        index = self._doing.pop(channel, None)
        if index is None:
            return  # it had nothing to do any more
        if self._begun[index] >= ATTEMPTS:
            raise given_up(ATTEMPTS, f"exit code {process.exitcode}")
        self._counted(index, 0)
        self._waiting.appendleft(index)
        self.hire(device)


def _work(channel: Connection, job: bytes, device: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends us
    signal.signal(signal.SIGTERM, _leave)
    try:
        limit_threads(threads)
        run = pickle.loads(job).open(device)  # noqa: S301
        limit_threads(threads)  # opening imported torch
        _do_shards(channel, run)
    except _GONE:
        return  # the driver is done, or gone
    except LpcamError as error:
        _say(channel, "refused", -1, str(error))
    except (OSError, MemoryError) as error:
        _say(channel, "refused", -1, str(of_system(error)))
    except Exception:
        _say(channel, "failed", -1, traceback.format_exc())


def _do_shards(channel: Connection, run: Runner) -> None:
    while True:
        index, shard = pickle.loads(channel.recv_bytes())  # noqa: S301
        result = run(shard, _tick(channel, index))
        _say(channel, "done", index, result)


def _tick(channel: Connection, index: int) -> Callable[[int], None]:
    return lambda done: _say(channel, "tick", index, done)


def _say(channel: Connection, kind: str, index: int, value: Any) -> None:
    channel.send_bytes(pickle.dumps((kind, index, value)))


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
