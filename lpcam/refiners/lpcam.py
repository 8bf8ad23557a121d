"""The LPCAM repository (Chen & Sun, CVPR 2023): ``{work_space}/lpcam_mask/{name}.npy``, IRN's dictionary.

Its own writer swaps the libraries: ``keys`` is NumPy, ``cam`` and ``high_res`` are torch tensors. Files here have
these types; its readers and IRN's take both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lpcam.records import ActivationMaps
from lpcam.refiners.irn import Irn
from lpcam.refiners.next_step import NextStep, Origin, Place, thresholds_for

WORK_SPACE = "the repository's --work_space"


class Lpcam(Irn):
    """Seeds as the LPCAM repository writes them. For maps of CAM its thresholds are IRN's."""

    name = "lpcam"
    title = "LPCAM"

    def to_dictionary(self, maps: ActivationMaps) -> dict[str, Any]:
        """Return what the file holds."""
        keys = np.array(maps.labels, dtype=np.int64)
        return {"keys": keys, "cam": maps.strided.detach().cpu(), "high_res": maps.high_res.detach().cpu()}

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{work_space}/lpcam_mask/{name}.npy",
            thresholds_for(origin, self.own_thresholds).settings(),
            arguments=("--work_space", "$WORK_SPACE"),
            place=Place("WORK_SPACE", WORK_SPACE, "lpcam_mask"),
        )
