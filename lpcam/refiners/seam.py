"""SEAM (Wang et al., CVPR 2020): PSA's dictionaries, every map stretched to 0..1.

With ``--crf`` ``crf_4.0/`` and ``crf_24.0/``, the folders it makes of ``--out_crf crf``.
"""

from __future__ import annotations

from typing import Any

from lpcam.refiners.next_step import NextStep, Origin
from lpcam.refiners.parts import Part
from lpcam.refiners.psa import Psa
from lpcam.refiners.stretching import stretched


class Seam(Psa):
    """Seeds as SEAM's ``infer_SEAM`` writes them."""

    name = "seam"
    title = "SEAM"

    def normalised(self, high_res: Any) -> Any:
        """Return maps stretched to 0..1, see `lpcam.refiners.stretching.stretched`."""
        return stretched(high_res)

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return ``crf_4.0/`` and ``crf_24.0/``, named by their α."""
        from lpcam.refiners.crf_part import CrfScores

        return (CrfScores("crf_4.0", 4), CrfScores("crf_24.0", 24))

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "the folders it calls out_cam, out_crf_4.0 and out_crf_24.0: this one, crf_4.0/ and crf_24.0/ "
            "(written with --crf)",
            ("α of crf_4.0: 4", "α of crf_24.0: 24", "α of the background in the affinity walk: 6"),
            notes=super().next_step(origin).notes,
        )
