"""Workers that stay and answer question after question, each about what it alone has in its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from lpcam.engines.mapping import local_workers
from lpcam.engines.placement import ATTEMPTS, Job, Placement
from lpcam.errors import LpcamError
from lpcam.interrupts import stop_here

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)


class WorkerLost(Exception):  # noqa: N818  what happened, not what somebody did wrong
    """A worker died, and what it had in its memory is gone."""


class Crew(Protocol):
    """Workers 0 … size − 1, each of which has opened the same job.

    Attributes:
        size: How many there are.
        device: Where they work; for the kind, ``cpu`` or ``cuda``, is that of all.
    """

    size: int
    device: str

    def ask(self, questions: Mapping[int, Any]) -> dict[int, Any]:
        """Ask several workers at the same time, and wait for all of them.

        Args:
            questions: One for each worker that is asked; its job's `Runner` answers it.

        Returns:
            The answers by worker.

        Raises:
            WorkerLost: a worker died since the last question. Another takes its place when it is asked next; that one
                knows of no question before.
            LpcamError: a worker raised it.
        """
        ...


@contextmanager
def crew_for(job: Job, placement: Placement, *, device: str) -> Iterator[Crew]:
    """Have the workers of a placement for a while; each starts when it is first asked, and none is left.

    Args:
        job: What each opens; questions go to the function that it returns.
        placement: Engine and processes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
    """
    if placement.engine == "ray":
        from lpcam.engines.on_ray import crew_of_actors

        with crew_of_actors(job, placement, device) as crew:
            yield crew
        return
    from lpcam.engines.local import crew_of_processes

    devices, threads = local_workers(placement, device)
    _LOG.info("a crew on %s, %d CPU threads each", ", ".join(devices), threads)
    with crew_of_processes(job, devices, threads) as crew:
        yield crew


def begun_again(task: Callable[[], Result]) -> Result:
    """Return the result of a task that asks a crew; where a worker dies it is begun again, three times at most.

    Raises:
        LpcamError: workers died every time.
    """
    why = ""
    for _ in range(ATTEMPTS):
        stop_here()
        try:
            return task()
        except WorkerLost as lost:
            why = str(lost)
            _LOG.warning("a worker died (%s): what it was needed for is begun again", why)
    raise LpcamError(
        f"a worker died {ATTEMPTS} times at the same task ({why}; out of memory?): what is done is kept, "
        "run the same command again, where the workers have more memory"
    )
