"""SIPE (Chen et al., CVPR 2022): ``{session}/npy/{name}.npy``, a pickled dictionary.

    keys     int64 numpy [1+K]              0 for the background, then the classes 1-based
    IS_CAM   float32 numpy [1+K, H, W]      channel 0 is the background, here 1 − max_k

Readers take the argmax over ``IS_CAM`` and look it up in ``keys``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import Refiner
from lpcam.refiners.maps import as_numpy, background_of, check, class_keys, from_high_res, reading
from lpcam.refiners.next_step import NextStep, Origin, Place


class Sipe(Refiner):
    """Seeds as SIPE's ``make_cam`` writes them."""

    name = "sipe"
    title = "SIPE"
    background = "channel 0 and key 0, 1 − max"

    def write(self, folder: Path, name: str, maps: ActivationMaps) -> None:
        """Write ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.write`."""
        check(maps)
        classes = as_numpy(maps.high_res)
        keys = np.array([0, *(label + 1 for label in maps.labels)], dtype=np.int64)
        content = {"keys": keys, "IS_CAM": np.concatenate([background_of(classes), classes])}
        save_dictionary(self.path(folder, name), content)

    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.read`."""
        path = self.path(folder, name)
        dictionary = load_dictionary(path)
        with reading(path, self.title):
            background, *classes = class_keys(dictionary["keys"])
            if background != 0:
                raise ValueError(f"expected key 0 first, got {background}")
            maps = from_high_res(tuple(key - 1 for key in classes), np.asarray(dictionary["IS_CAM"])[1:])
            check(maps)
        return maps

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{session}/npy/{name}.npy",
            ("background: channel 0 × 0.5, so that a class wins where its map is above 1/3",),
            place=Place("SESSION", "the folder of the repository's session", "npy"),
        )
