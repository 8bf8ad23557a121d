"""Jobs whose worker dies, as a process that runs out of memory does."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from itertools import count
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from lpcam.errors import LpcamError


@dataclass(frozen=True)
class DiesOnce:
    """A job one of whose workers is killed, after it did so many shards and before it can say so of the last."""

    job: Any
    marker: Path
    after: int = 1

    def open(self, device):
        run, done = self.job.open(device), count(1)

        def run_or_die(shard, tick):
            result = run(shard, tick)
            if next(done) < self.after:
                return result
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                return result
            return os.kill(os.getpid(), signal.SIGKILL)

        return run_or_die


@dataclass(frozen=True)
class Echo:
    """A job that says who did what; a shard may be a word that makes it fail, or asks how many threads torch uses."""

    def open(self, device):
        def run(shard, tick):
            tick(1)
            if shard == "refuse":
                raise LpcamError("this cannot be done: do something else")
            if shard == "break":
                raise KeyError("a bug")
            if shard == "sleep":
                time.sleep(0.5)
            if shard == "interrupt":
                os.kill(parent_process().pid, signal.SIGINT)
                time.sleep(0.5)  # until the driver was told
            if shard == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if shard == "threads":
                import torch

                return torch.get_num_threads()
            return shard, device, os.getpid()

        return run


@dataclass(frozen=True)
class Forked:
    """A job that says which process its own comes from, and whether torch was there when it began."""

    def open(self, device):
        had_torch = "torch" in sys.modules
        return lambda shard, tick: (os.getppid(), had_torch)


@dataclass(frozen=True)
class Remembers:
    """A job whose workers answer with all they were asked so far; words as `Echo` knows them do what they do there."""

    def open(self, device):
        echo, heard = Echo().open(device), []

        def run(question, tick):
            echo(question, tick)
            heard.append(question)
            return os.getpid(), device, "".join(heard)

        return run
