"""The CRF dictionaries of PSA and its descendants: ``{0: background, k+1: class k}``, posteriors of a dense CRF."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpcam.crf import PSA, CrfSettings, crf_of_scores
from lpcam.pickles import save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners.maps import as_numpy, background_of
from lpcam.refiners.parts import Part


@dataclass(frozen=True)
class CrfScores(Part):
    """Dictionaries of posteriors, float32 [H, W] each; key 0 first, then the classes in the order of the seeds.

    The background's score is (1 − max_k)^α; scores are taken for probabilities. Dictionaries of any two α of a photo
    have the same keys in the same order. A photo without classes is background everywhere.

    Attributes:
        alpha: α; the higher, the less background.
        crf: Settings of the CRF.
    """

    alpha: float
    crf: CrfSettings = PSA

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on."""
        return {"alpha": self.alpha, "crf": asdict(self.crf)}

    def write(self, path: Path, name: str, maps: ActivationMaps, pixels: NDArray[np.uint8]) -> None:
        """Write the dictionary; see `lpcam.refiners.parts.Part.write`."""
        classes = as_numpy(maps.high_res)
        scores = np.concatenate([background_of(classes) ** np.float32(self.alpha), classes])
        posterior = crf_of_scores(pixels, scores, self.crf)
        save_dictionary(path, dict(zip((0, *(int(label) + 1 for label in maps.labels)), posterior, strict=True)))
