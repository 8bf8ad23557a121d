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
from typing import Any

import numpy as np
import torch

from lpcam.errors import LpcamError
from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import Refiner
from lpcam.views import strided_size


class Irn(Refiner):
    """Seeds as IRN's ``make_cam`` writes them."""

    name = "irn"

    def write(self, folder: Path, name: str, maps: ActivationMaps) -> None:
        """Write ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.write`."""
        _check(maps)
        save_dictionary(self.path(folder, name), _to_dictionary(maps))

    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read ``{folder}/{name}.npy``; see `lpcam.refiners.Refiner.read`."""
        path = self.path(folder, name)
        dictionary = load_dictionary(path)
        try:
            maps = _from_dictionary(dictionary)
            _check(maps)
        except (KeyError, TypeError, ValueError) as error:
            raise LpcamError(
                f"{path} does not hold IRN seeds ({_reason(error)}): delete it and run 'lpcam generate' again"
            ) from error
        return maps


def _check(maps: ActivationMaps) -> None:
    strided, high_res = maps.strided, maps.high_res
    if strided.dtype != torch.float32 or high_res.dtype != torch.float32:
        raise ValueError(f"expected float32 maps, got {strided.dtype} and {high_res.dtype}")
    if high_res.ndim != 3 or len(maps.labels) != len(high_res):
        raise ValueError(f"expected high_res [{len(maps.labels)}, H, W], got {list(high_res.shape)}")
    expected = (len(maps.labels), *strided_size((high_res.shape[1], high_res.shape[2])))
    if tuple(strided.shape) != expected:
        raise ValueError(f"expected strided {list(expected)}, got {list(strided.shape)}")
    # By NumPy, for the reason given in `lpcam.views.view`.
    if not all(np.isfinite(array.detach().cpu().numpy()).all() for array in (strided, high_res)):
        raise ValueError("expected finite maps, got NaN or infinity")


def _to_dictionary(maps: ActivationMaps) -> dict[str, Any]:
    return {
        "keys": torch.tensor(maps.labels, dtype=torch.int64),
        "cam": maps.strided.detach().cpu(),
        "high_res": maps.high_res.detach().cpu().numpy(),
    }


def _from_dictionary(dictionary: Mapping[Any, Any]) -> ActivationMaps:
    # torch or numpy alike: the LPCAM repository's own writer swaps the two.
    keys, strided, high_res = (np.asarray(dictionary[key]) for key in ("keys", "cam", "high_res"))
    if keys.ndim != 1 or keys.dtype.kind not in "iu":
        raise ValueError(f"expected integer keys [K], got {keys.dtype} {list(keys.shape)}")
    return ActivationMaps(tuple(keys.tolist()), torch.tensor(strided), torch.tensor(high_res))


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
