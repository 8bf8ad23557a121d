"""The engines: the same shards done here, by several processes of one machine, or by Ray actors.

A stage is a `Job` and its shards. The job says how a worker opens what it needs, once, and returns the function that
does a shard; an engine only maps that function. What comes out does not depend on who did which shard, nor on how
often a shard was begun: a shard skips what is complete and writes files that are whole or not there.

Where a thing is divided and has to be gone through again and again, the workers are a `Crew`: they stay, and the same
function of the job answers questions about what each of them has in memory.
"""

from __future__ import annotations

from lpcam.engines.crew import Crew, WorkerLost, begun_again, crew_for
from lpcam.engines.mapping import map_shards, own_device, runs_here
from lpcam.engines.placement import ENGINES, Job, Placement, Runner, Share, Tick

__all__ = [
    "ENGINES",
    "Crew",
    "Job",
    "Placement",
    "Runner",
    "Share",
    "Tick",
    "WorkerLost",
    "begun_again",
    "crew_for",
    "map_shards",
    "own_device",
    "runs_here",
]
