"""CLIP-ES (Lin et al., CVPR 2023): ``{cam_out_dir}/{name}.npy``, a pickled dictionary.

    keys           int64 numpy [K]             class indices, 0-based
    attn_highres   float16 numpy [K, H, W]

With ``--crf`` ``pseudo_label/``, the labels its CRF is sure of, see `lpcam.refiners.label_parts.ConfidentLabels`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import Refiner
from lpcam.refiners.maps import as_numpy, check, class_keys, from_high_res, reading
from lpcam.refiners.next_step import NextStep, Origin
from lpcam.refiners.parts import Part


class ClipEs(Refiner):
    """Seeds as CLIP-ES writes them."""

    name = "clip-es"
    title = "CLIP-ES"

    def write(self, folder: Path, name: str, maps: ActivationMaps) -> None:
        """Write ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.write`."""
        check(maps)
        halves = as_numpy(maps.high_res).astype(np.float16)
        keys = np.array(maps.labels, dtype=np.int64)
        save_dictionary(self.path(folder, name), {"keys": keys, "attn_highres": halves})

    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.read`."""
        path = self.path(folder, name)
        dictionary = load_dictionary(path)
        with reading(path, self.title):
            maps = from_high_res(class_keys(dictionary["keys"]), dictionary["attn_highres"])
            check(maps)
        return maps

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return ``pseudo_label/``."""
        from lpcam.refiners.label_parts import ConfidentLabels

        return (ConfidentLabels("pseudo_label"),)

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{cam_out_dir}/{name}.npy",
            ("a pixel whose CRF posterior is below 0.95: 255",),
            arguments=("--cam_out_dir", "$SEEDS"),
            notes=("pseudo_label/ (written with --crf) holds the labels its segmentation network is trained from.",),
        )
