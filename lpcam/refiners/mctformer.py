"""MCTformer (Xu et al., CVPR 2022): ``{cam-npy-dir}/{name}.npy``, PSA's dictionaries, every map stretched to 0..1.

With ``--crf`` ``la_crf/`` (α 1) and ``ha_crf/`` (α 12), which its PSA step learns affinities from.
"""

from __future__ import annotations

from lpcam.refiners.next_step import NextStep, Origin
from lpcam.refiners.parts import Part
from lpcam.refiners.seam import Seam


class Mctformer(Seam):
    """Seeds as MCTformer writes them."""

    name = "mctformer"
    title = "MCTformer"

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return ``la_crf/`` with α 1 and ``ha_crf/`` with α 12."""
        from lpcam.refiners.crf_part import CrfScores

        return (CrfScores("la_crf", 1), CrfScores("ha_crf", 12))

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{cam-npy-dir}/{name}.npy",
            (
                "background of the seed evaluation: swept from 0 to 0.60",
                "α of la_crf: 1",
                "α of ha_crf: 12",
                "background of the affinity walk: 0.39",
            ),
            arguments=("--cam-npy-dir", "$SEEDS"),
            notes=super().next_step(origin).notes,
        )
