"""AdvCAM (Lee, Kim & Yoon, CVPR 2021): ``cam_adv_mask/{name}.npy``, IRN's dictionary.

Its random walk raises ``cam`` to the power 1.5 when it reads it, so the file holds the maps as they are: raised here
too, they would be raised twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lpcam.refiners.irn import Irn
from lpcam.refiners.next_step import NextStep, Origin, Place, Thresholds, thresholds_for


class Advcam(Irn):
    """Seeds as AdvCAM's random walk reads them."""

    name = "advcam"
    title = "AdvCAM"
    own_thresholds: ClassVar[Mapping[str, Thresholds]] = {"voc": Thresholds(None, 0.35, 0.15, 0.25)}

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "cam_adv_mask/{name}.npy",
            thresholds_for(origin, self.own_thresholds).settings(),
            place=Place("WORK_SPACE", "the folder of the repository's results", "cam_adv_mask"),
            notes=("Its random walk raises cam to the power 1.5 itself.",),
        )
