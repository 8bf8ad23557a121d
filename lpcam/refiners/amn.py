"""AMN (Lee, Kim & Shim, CVPR 2022): ``result/amn_cam/{name}.npy``, what the last steps of its second stage read.

    keys      int64 torch [K]                                     class indices, 0-based, without the background
    cam       float32 torch [K+1, (H-1)//4+1, (W-1)//4+1]         channel 0 is the background, here 1 − max_k
    high_res  float32 numpy [K+1, H, W]                           likewise

The readers of the evaluation, the IR labels and the random walk leave channel 0 out and put their threshold there;
the random walk raises ``cam`` to the power 1.3 itself. A photo without classes has empty ``keys`` and nothing else, as
AMN-COCO writes it: its readers ask ``'high_res' in d``. So its size is not kept.

The first stage reads IRN's dictionaries (``result/cam``, ``--refiner irn``) to make IR labels
(``result/ir_label/{name}.png``), from which the second network learns: ``--crf`` writes those.

On COCO its files have the photo's twelve digits as names: ``COCO_train2014_000000000009`` is ``000000000009``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lpcam.records import ActivationMaps
from lpcam.refiners.irn import Irn
from lpcam.refiners.maps import UNKNOWN_SIZE, as_numpy, background_of
from lpcam.refiners.next_step import IRN_MAPS, NextStep, Origin, Thresholds, thresholds_for

_COCO_NAME = re.compile(r"COCO_(?:train|val|test)\d{4}_(\d{12})")
_SECOND_STAGE = {"voc": Thresholds(0.25, 0.45, 0.15, 0.25), "coco": Thresholds(0.25, 0.45, 0.15, 0.22)}


class Amn(Irn):
    """Seeds as AMN's second stage reads them; IR labels as its first stage makes them."""

    name = "amn"
    title = "AMN"
    background = "channel 0, 1 − max"
    keeps_size = False
    own_thresholds: ClassVar[Mapping[str, Thresholds]] = {
        "voc": IRN_MAPS
    }  # of the first stage, where the IR labels belong

    def stem(self, name: str) -> str:
        """Return the twelve digits of a COCO name, any other name as it is."""
        coco = _COCO_NAME.fullmatch(name)
        return super().stem(coco[1] if coco else name)

    def to_dictionary(self, maps: ActivationMaps) -> dict[str, Any]:
        """Return what the file holds."""
        keys = torch.tensor(maps.labels, dtype=torch.int64)
        if not maps.labels:
            return {"keys": keys}
        strided, high_res = (_with_background(tensor) for tensor in (maps.strided, maps.high_res))
        return {"keys": keys, "cam": torch.from_numpy(strided), "high_res": high_res}

    def from_dictionary(self, dictionary: Mapping[Any, Any]) -> ActivationMaps:
        """Undo `to_dictionary`."""
        if "high_res" not in dictionary and len(dictionary["keys"]) == 0:
            return UNKNOWN_SIZE
        foreground = {**dictionary, **{key: np.asarray(dictionary[key])[1:] for key in ("cam", "high_res")}}
        return super().from_dictionary(foreground)

    def next_step(self, origin: Origin) -> NextStep:
        """Return how the repository goes on; see `lpcam.refiners.Refiner.next_step`."""
        return NextStep(
            "{amn_cam_out_dir}/{name}.npy",
            thresholds_for(origin, _SECOND_STAGE).settings(),
            arguments=("--amn_cam_out_dir", "$SEEDS"),
            notes=(
                "Its random walk raises cam to the power 1.3 itself.",
                "ir_label/ (written with --crf) is what its first stage trains the second network from.",
            ),
        )


def _with_background(maps: Tensor) -> Any:
    classes = as_numpy(maps)
    return np.concatenate([background_of(classes), classes])
