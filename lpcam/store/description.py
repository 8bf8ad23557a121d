"""What features are: two stores with one description hold the same values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import torch

SCHEMA = 3
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
REPAIR = "run 'lpcam extract-features' again to complete it"


@dataclass(frozen=True)
class Description:
    """What the features are; two stores with one description hold the same values.

    Attributes:
        classes: Class names by index.
        dataset: Kind of data set.
        split: Name of the split.
        photos: Fingerprint of the split's names and labels.
        weights_sha256: Identity of the classifier.
        arch: Its architecture.
        layer: The layer the features come from.
        stride: Output stride.
        channels: C.
        scales: Scales of the CAM; the features are those of scale 1 without mirror.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        precision: Number format of the forward passes.
        origin: ``imported`` where another tool extracted them.
    """

    classes: tuple[str, ...]
    dataset: str
    split: str
    photos: str
    weights_sha256: str
    arch: str
    layer: str
    stride: int
    channels: int
    scales: tuple[float, ...]
    dtype: str
    precision: str = "float32"
    origin: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it and the store's schema."""
        values = {name: value for name, value in asdict(self).items() if name != "origin" or value}
        return hashlib.sha256(json.dumps([SCHEMA, values], sort_keys=True).encode()).hexdigest()
