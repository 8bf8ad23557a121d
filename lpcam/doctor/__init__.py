"""What may go wrong before it does: packages, machine, file system, and the size of the planned run.

Nothing here needs torch to be importable: what cannot be imported is what is to be found.
"""

from __future__ import annotations

from collections.abc import Iterator

from lpcam.doctor.diagnosis import BROKEN, DOUBTFUL, OK, STATES, Diagnosis
from lpcam.doctor.disk import of_disk
from lpcam.doctor.machine import of_machine
from lpcam.doctor.packages import of_packages
from lpcam.doctor.plan import Planned, of_plan

__all__ = ["BROKEN", "DOUBTFUL", "OK", "STATES", "Diagnosis", "Planned", "examine"]


def examine(planned: Planned) -> Iterator[Diagnosis]:
    """Yield what is found of one thing after the other.

    Args:
        planned: The workspace, and the run that is meant, as far as it is said.
    """
    yield from of_packages()
    yield from of_machine()
    yield from of_disk(planned.workspace.root)
    yield from of_plan(planned)
