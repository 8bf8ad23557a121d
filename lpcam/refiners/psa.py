"""PSA (Ahn & Kwak, CVPR 2018): ``{out_cam}/{name}.npy``, a pickled dictionary from class to map.

    k   float32 numpy [H, W]    for every class k of the photo, an int, 0-based

With ``--crf`` two dictionaries more, for the two backgrounds its affinities are learnt from: ``la_crf/`` (low α, much
background) and ``ha_crf/`` (high α, little), see `lpcam.refiners.crf_part.CrfScores`. A photo without classes has an
empty dictionary, so its size is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import Refiner
from lpcam.refiners.maps import UNKNOWN_SIZE, as_numpy, check, class_keys, from_high_res, reading
from lpcam.refiners.next_step import NextStep, Origin
from lpcam.refiners.parts import Part


class Psa(Refiner):
    """Seeds as PSA's ``infer_cls`` writes them."""

    name = "psa"
    title = "PSA"
    background = "CRF dictionaries only, key 0"
    keeps_size = False

    def write(self, folder: Path, name: str, maps: ActivationMaps) -> None:
        """Write ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.write`."""
        check(maps, sized=False)
        high_res = self.normalised(as_numpy(maps.high_res))
        save_dictionary(self.path(folder, name), dict(zip(map(int, maps.labels), high_res, strict=True)))

    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.read`."""
        path = self.path(folder, name)
        dictionary = load_dictionary(path)
        with reading(path, self.title):
            maps = _from_dictionary(dictionary)
            check(maps, sized=False)
        return maps

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return ``la_crf/`` with α 4 and ``ha_crf/`` with α 32."""
        from lpcam.refiners.crf_part import CrfScores

        return (CrfScores("la_crf", 4), CrfScores("ha_crf", 32))

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "the folders it calls out_cam, out_la_crf and out_ha_crf: this one, la_crf/ and ha_crf/ "
            "(written with --crf)",
            ("α of la_crf: 4", "α of ha_crf: 32", "α of the background in the affinity walk: 16"),
            notes=_alpha_notes(origin),
        )


def _alpha_notes(origin: Origin) -> tuple[str, ...]:
    note = "These α were made for CAM; the denser maps of this method may want others."
    return (note,) if origin.is_dense else ()


def _from_dictionary(dictionary: Mapping[Any, Any]) -> ActivationMaps:
    if not dictionary:
        return UNKNOWN_SIZE
    labels = class_keys(sorted(dictionary))
    return from_high_res(labels, np.stack([np.asarray(dictionary[label]) for label in labels]))
