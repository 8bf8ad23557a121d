"""Several processes of this machine: each opens the job once and is handed one shard, or question, after the other.

On Linux they are forked by a server, which imports torch once for all processes of all stages; it has not computed
anything, nor seen a GPU. What is pickled goes between this process and its own children only.
"""

from __future__ import annotations

import pickle
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

from lpcam.engines.crew import Crew, WorkerLost
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
    with _processes(job, threads) as processes:
        pool = _Pool(processes, shards, counted)
        for device in devices[: len(shards)]:
            pool.hire(device)
        while len(pool.results) < len(shards):
            if not pool.is_busy():
                stop_here()
            pool.listen()
    return [pool.results[index] for index in range(len(shards))]


@contextmanager
def crew_of_processes(job: Job, devices: Sequence[str], threads: int) -> Iterator[Crew]:
    """Have a process a device that stays and answers; see `lpcam.engines.crew_for`. However this ends, none stays."""
    with _processes(job, threads) as processes:
        yield _Crew(processes, devices)


@contextmanager
def _processes(job: Job, threads: int) -> Iterator[_Processes]:
    """Let the processes go when all is done, and end them when it is not."""
    processes = _Processes(job, threads)
    try:
        yield processes
        processes.dismiss()
    except BaseException:
        processes.stop()
        raise


class _Processes:
    """Processes that open the same job; each is spoken to over a pipe of its own."""

    def __init__(self, job: Job, threads: int) -> None:
        self._context = _context(job)
        self._job, self._threads = pickle.dumps(job), threads
        self._alive: dict[Connection, BaseProcess] = {}

    def hire(self, device: str) -> Connection:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._job, device, self._threads), daemon=True)
        process.start()
        theirs.close()  # so that a dead child is the end of the pipe
        self._alive[ours] = process
        return ours

    def hand(self, channel: Connection, index: int, shard: Any) -> None:
        """Give a process a shard to do; whether it is still there is heard by listening."""
        with suppress(*_GONE):
            channel.send_bytes(pickle.dumps((index, shard)))

    def listen(self) -> Iterator[tuple[Connection, str, int, Any]]:
        """Wait for the processes and yield what they say: a tick, done, or lost, with the exit code in words.

        Raises:
            LpcamError: a process raised it.
            RuntimeError: a process raised anything else.
        """
        for channel in cast("list[Connection]", wait(list(self._alive))):
            try:
                kind, index, value = pickle.loads(channel.recv_bytes())  # noqa: S301
            except (*_GONE, OSError):
                yield channel, "lost", -1, self._buried(channel)
                continue
            if kind == "refused":
                raise LpcamError(value)
            if kind == "failed":
                raise RuntimeError(f"a worker process failed:\n{value}")
            yield channel, kind, index, value

    def dismiss(self) -> None:
        """Let the processes go: the end of the pipe is the end of their work."""
        for channel in self._alive:
            channel.close()
        for process in self._alive.values():
            process.join(_SECONDS_TO_LEAVE)
        self.stop()

    def stop(self) -> None:
        """End every process, cleanly where it lets us."""
        for process in self._alive.values():
            process.terminate()
        for process in self._alive.values():
            process.join(_SECONDS_TO_LEAVE)
            process.kill()
            process.join()

    def _buried(self, channel: Connection) -> str:
        process = self._alive.pop(channel)
        channel.close()
        process.join()
        return f"exit code {process.exitcode}"


class _Pool:
    """What each process is doing, and what is left."""

    def __init__(self, processes: _Processes, shards: Sequence[Any], counted: Callable[[int, int], None]) -> None:
        self._processes, self._shards, self._counted = processes, shards, counted
        self._waiting = deque(range(len(shards)))
        self._begun: Counter[int] = Counter()
        self._devices: dict[Connection, str] = {}
        self._doing: dict[Connection, int] = {}
        self.results: dict[int, Any] = {}

    def hire(self, device: str) -> None:
        """Start a process and hand it a shard."""
        channel = self._processes.hire(device)
        self._devices[channel] = device
        self._hand_out(channel)

    def listen(self) -> None:
        """Wait for the processes and take what they say."""
        for channel, kind, index, value in self._processes.listen():
            if kind == "lost":
                self._replace(channel, value)
            elif kind == "tick":
                self._counted(index, value)
            else:
                self.results[index] = value
                self._counted(index, sys.maxsize)
                self._hand_out(channel)

    def is_busy(self) -> bool:
        """Return whether a process has a shard in hand."""
        return bool(self._doing)

    def _hand_out(self, channel: Connection) -> None:
        self._doing.pop(channel, None)
        if self._waiting and not asked():
            index = self._waiting.popleft()
            self._doing[channel] = index
            self._begun[index] += 1
            self._processes.hand(channel, index, self._shards[index])

    def _replace(self, channel: Connection, why: str) -> None:
        device = self._devices.pop(channel)
        index = self._doing.pop(channel, None)
        if index is None:
            return  # it had nothing to do any more
        if self._begun[index] >= ATTEMPTS:
            raise given_up(ATTEMPTS, why)
        self._counted(index, 0)
        self._waiting.appendleft(index)
        self.hire(device)


class _Crew:
    """Processes that stay: the shards they are handed are questions."""

    def __init__(self, processes: _Processes, devices: Sequence[str]) -> None:
        self._processes, self._devices = processes, devices
        self._channels: dict[int, Connection] = {}
        self.size, self.device = len(devices), devices[0]

    def ask(self, questions: Mapping[int, Any]) -> dict[int, Any]:
        """Ask several at the same time; see `lpcam.engines.Crew.ask`."""
        for worker, question in questions.items():
            if worker not in self._channels:
                self._channels[worker] = self._processes.hire(self._devices[worker])
            self._processes.hand(self._channels[worker], worker, question)
        awaited = {self._channels[worker] for worker in questions}
        answers, lost = {}, []
        while awaited:
            for channel, kind, worker, value in self._processes.listen():
                if kind == "lost":
                    lost.append(value)
                    self._channels = {worker: own for worker, own in self._channels.items() if own is not channel}
                elif kind == "done":
                    answers[worker] = value
                awaited -= {channel} if kind != "tick" else set()
        if lost:
            raise WorkerLost(lost[0])
        return answers


def _context(job: Job) -> ForkServerContext | SpawnContext:
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", type(job).__module__])  # of a server that is not there yet
    return context


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
