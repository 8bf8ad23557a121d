"""The IRN family (Ahn, Cho & Kwak, CVPR 2019): ``{cam_out_dir}/{name}.npy``, a pickled dictionary.

    keys      int64 torch [K]                                 class indices, 0-based
    cam       float32 torch [K, (H-1)//4+1, (W-1)//4+1]       its reader calls .cuda(), and multiplies it by an
                                                              edge map of exactly this size
    high_res  float32 numpy [K, H, W]

No background channel: readers put their own threshold there. A photo without classes has K=0 arrays of the
same sizes. Readers do ``np.load(path, allow_pickle=True).item()``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import Refiner
from lpcam.refiners.maps import as_numpy, check, class_keys, reading
from lpcam.refiners.next_step import IRN_MAPS, NextStep, Origin, Thresholds, thresholds_for
from lpcam.refiners.parts import Part


class Irn(Refiner):
    """Seeds as IRN's ``make_cam`` writes them, and with ``--crf`` the labels its IRNet learns from.

    Attributes:
        own_thresholds: The repository's own, by data set.
    """

    name = "irn"
    title = "IRN"
    own_thresholds: ClassVar[Mapping[str, Thresholds]] = {"voc": IRN_MAPS}

    def write(self, folder: Path, name: str, maps: ActivationMaps) -> None:
        """Write ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.write`."""
        check(maps, sized=self.keeps_size)
        save_dictionary(self.path(folder, name), self.to_dictionary(maps))

    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.read`."""
        path = self.path(folder, name)
        dictionary = load_dictionary(path)
        with reading(path, self.title):
            maps = self.from_dictionary(dictionary)
            check(maps, sized=self.keeps_size)
        return maps

    def to_dictionary(self, maps: ActivationMaps) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            "keys": torch.tensor(maps.labels, dtype=torch.int64),
            "cam": maps.strided.detach().cpu(),
            "high_res": as_numpy(maps.high_res),
        }

    def from_dictionary(self, dictionary: Mapping[Any, Any]) -> ActivationMaps:
        """Undo `to_dictionary`; torch or NumPy alike."""
        labels = class_keys(dictionary["keys"])
        strided, high_res = (torch.tensor(np.asarray(dictionary[key])) for key in ("cam", "high_res"))
        return ActivationMaps(labels, strided, high_res)

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return ``ir_label/``, see `lpcam.refiners.label_parts.IrLabels`."""
        from lpcam.refiners.label_parts import IrLabels

        thresholds = thresholds_for(origin, self.own_thresholds)
        return (IrLabels("ir_label", thresholds.conf_fg, thresholds.conf_bg),)

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{cam_out_dir}/{name}.npy",
            thresholds_for(origin, self.own_thresholds).settings(),
            arguments=("--cam_out_dir", "$SEEDS"),
        )
