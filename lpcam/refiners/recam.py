"""ReCAM (Chen et al., CVPR 2022): ``{work_space}/cam_mask/{name}.npy``, IRN's dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lpcam.refiners.irn import Irn
from lpcam.refiners.lpcam import WORK_SPACE
from lpcam.refiners.next_step import NextStep, Origin, Place, Thresholds, thresholds_for


class Recam(Irn):
    """Seeds as ReCAM writes them."""

    name = "recam"
    title = "ReCAM"
    own_thresholds: ClassVar[Mapping[str, Thresholds]] = {
        "voc": Thresholds(0.21, 0.35, 0.10, 0.28),
        "coco": Thresholds(0.15, 0.35, 0.10, 0.25),
    }

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{work_space}/cam_mask/{name}.npy",
            thresholds_for(origin, self.own_thresholds).settings(),
            arguments=("--work_space", "$WORK_SPACE"),
            place=Place("WORK_SPACE", WORK_SPACE, "cam_mask"),
        )
