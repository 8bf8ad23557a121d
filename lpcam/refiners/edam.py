"""EDAM (Wu et al., CVPR 2021): PSA's dictionaries, every map divided by its maximum.

With ``--crf`` its ``out_crf`` (three iterations). With ``--saliency DIR`` the label PNGs it makes of maps and saliency,
see `lpcam.refiners.label_parts.SaliencyLabels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lpcam.refiners.next_step import NextStep, Origin
from lpcam.refiners.parts import Part
from lpcam.refiners.psa import Psa
from lpcam.refiners.stretching import peaked

_BACKGROUND_POWER = 1


class Edam(Psa):
    """Seeds as EDAM's ``infer_cls`` writes them."""

    name = "edam"
    title = "EDAM"
    background = "CRF dictionary, key 0; label PNG, from the saliency"

    def normalised(self, high_res: Any) -> Any:
        """Return maps divided by their maximum, which is exactly 1 then: β asks for more than .99999."""
        return peaked(high_res)

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return ``out_crf/``."""
        from lpcam.crf import EDAM
        from lpcam.refiners.crf_part import CrfScores

        return (CrfScores("out_crf", _BACKGROUND_POWER, EDAM),)

    def saliency_parts(self, saliency: Path) -> tuple[Part, ...]:
        """Return ``out_cam_pred/``."""
        from lpcam.refiners.label_parts import SaliencyLabels

        return (SaliencyLabels("out_cam_pred", saliency),)

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "the folders it calls out_cam, out_crf and out_cam_pred: this one, out_crf/ (written with --crf) and "
            "out_cam_pred/ (written with --saliency)",
            ("θ of the saliency: 0.2", "α: 0.000001", "β: 0.99999"),
            notes=("out_cam_pred/ holds what its segmentation network is trained from.",),
        )
