"""The records that pass between rooms, and the alphabet of their shapes.

N images · K classes · C channels of a feature · H×W image · h×w feature grid · M local features
(vectors) · P prototypes · S scales. A *local feature* is the C-vector at one grid position.
Class indices are 0-based and do not count the background, unless a name says otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lpcam.errors import LpcamError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; the library never prints."""


def silent(stage: str, done: int, total: int) -> None:
    """Report no progress; the default of every stage."""


class DrawnMask(Protocol):
    """A true mask that is no file but drawn when it is asked for; its text says in messages what it is."""

    def draw(self) -> NDArray[np.uint8]:
        """Return it in the photo's stored size: uint8 [H, W]."""


@dataclass(frozen=True)
class Photo:
    """One photo of a split: where it lies and what is known of it.

    Attributes:
        name: As the data set spells it (``2007_000032``), without suffix.
        path: The image file.
        labels: Its image-level labels, sorted class indices.
        mask: Its true segmentation mask (0 background, k+1 class k, 255 ignored), if there is one: an image file or
            a drawing. `lpcam.datasets.read_mask` reads both.
    """

    name: str
    path: Path
    labels: tuple[int, ...]
    mask: Path | DrawnMask | None = None


@dataclass(frozen=True)
class DataSplit:
    """The photos of one split of a data set with their image-level labels.

    Attributes:
        dataset: Kind of data set: ``voc``, ``coco``, ``folder`` or ``demo``.
        split: Name of the list, such as ``train``.
        classes: Class names by index, without the background.
        photos: In the order of the list.
        notices: What a user should know (labels derived from masks, …), one line each.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    notices: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over class names, photo names and image-level labels (not over paths)."""
        payload = [self.classes, [(photo.name, photo.labels) for photo in self.photos]]
        return hashlib.sha256(json.dumps(payload).encode()).hexdigest()


@dataclass(frozen=True)
class ActivationMaps:
    """The activation maps of one image for its own classes.

    Attributes:
        labels: K class indices, sorted.
        strided: float32 [K, (H-1)//4+1, (W-1)//4+1] in 0..1.
        high_res: float32 [K, H, W] in 0..1. Both are [0, 0, 0] for a photo without labels whose size is not known.
    """

    labels: tuple[int, ...]
    strided: Tensor
    high_res: Tensor


@dataclass(frozen=True)
class Attention:
    """What a transformer attended to in N images.

    Attributes:
        to_patches: float [N, K, h, w], by the token of every class.
        among_patches: float [N, h·w, h·w], row by row.
    """

    to_patches: Tensor
    among_patches: Tensor

    def of(self, images: Sequence[int]) -> Attention:
        """Return the attention in some of the images."""
        import torch

        first, among = (torch.stack([of_all[image] for image in images]) for of_all in vars(self).values())
        return Attention(first, among)


@dataclass(frozen=True)
class ViewFeatures:
    """What a classifier makes of an image at one scale, and of its mirror.

    Attributes:
        last: float [V, C, h, w], f(x); V is 2 with the mirror, else 1.
        levels: float [V, C_l, h_l, w_l] of every level of the network, the last is f(x); empty where nobody asked.
        attention: Of V images; None where nobody asked.
    """

    last: Tensor
    levels: tuple[Tensor, ...] = ()
    attention: Attention | None = None


@dataclass(frozen=True)
class Failure:
    """A photo that could not be processed, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class StageReport:
    """What a stage did with its photos.

    Attributes:
        images: Photos processed now.
        skipped: Photos that were complete before.
        failures: Photos that could not be processed.
        seconds: Wall time of the stage.
        backbone_seconds: Part of it spent in the classifier's forward passes, summed over processes.
        notices: What a user should know, one line each.
        empty_maps: By method, the maps that are zero everywhere.
        next_steps: How to go on with what was made, one line each.
        halved: How often a batch was halved for want of memory.
    """

    images: int
    skipped: int
    failures: tuple[Failure, ...]
    seconds: float
    backbone_seconds: float
    notices: tuple[str, ...] = ()
    empty_maps: Mapping[str, int] = field(default_factory=dict)
    next_steps: tuple[str, ...] = ()
    halved: int = 0

    @classmethod
    def merged(cls, reports: Sequence[StageReport], seconds: float) -> StageReport:
        """Return what the shards of a stage did together, in that wall time; notices are left out."""
        empty: dict[str, int] = {}
        for report in reports:
            for name, count in report.empty_maps.items():
                empty[name] = empty.get(name, 0) + count
        return cls(
            sum(report.images for report in reports),
            sum(report.skipped for report in reports),
            tuple(failure for report in reports for failure in report.failures),
            seconds,
            sum(report.backbone_seconds for report in reports),
            empty_maps=empty,
            halved=sum(report.halved for report in reports),
        )

    def as_json(self) -> dict[str, object]:
        """Return the object that ``--json`` prints."""
        return {
            "images": self.images,
            "skipped": self.skipped,
            "failed": len(self.failures),
            "failures": [{"name": failure.name, "reason": failure.reason} for failure in self.failures],
            "seconds": self.seconds,
            "backbone_seconds": self.backbone_seconds,
            "images_per_second": self.images / self.seconds if self.seconds > 0 else 0.0,
            "notices": list(self.notices),
            "next_steps": list(self.next_steps),
        }


@dataclass(frozen=True)
class Execution:
    """How photos are sent through a classifier; nothing here changes a result beyond rounding.

    Another precision makes other features and seeds, which are not mixed; the rest moves their last bits at most.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        batch_size: Photos of one size that share a forward, ≥ 1; None for what suits the device.
        workers: Threads that read photos ahead, ≥ 0; 0 reads them in line, None is what suits the device.
        precision: Number format of the forward passes: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for
            what the device is fastest in.
        runtime: What carries the network out: ``fused`` (torch, its convolutions fused where that pays), ``torch``,
            ``compile`` (torch.compile) or ``openvino``.
        strict: Stop at the first photo that cannot be processed, in place of going on without it.

    Raises:
        LpcamError: a number is too small.
    """

    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    precision: str = "float32"
    runtime: str = "fused"
    strict: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (("batch size", self.batch_size, 1), ("workers", self.workers, 0)):
            if value is not None and value < least:
                raise LpcamError(f"{name} is {value}: choose {least} or more")

    def tolerate(self, failure: Failure) -> Failure:
        """Return a failure, or refuse to go on with it.

        Raises:
            LpcamError: under ``strict``.
        """
        if self.strict:
            raise LpcamError(f"stopped at photo {failure.name} (--strict): {failure.reason}")
        return failure

    def on(self, kind: str) -> str:
        """Return in words how photos go through on ``cpu`` or ``cuda``."""
        return f"at most {self.batch_on(kind)} a forward pass, {self.readers_on(kind)} threads read ahead"

    def batch_on(self, kind: str) -> int:
        """Return the photos of one size that share a forward on ``cpu`` or ``cuda``."""
        return self.batch_size or (8 if kind == "cuda" else 1)

    def readers_on(self, kind: str) -> int:
        """Return the threads that read ahead for ``cpu``, which computes itself, or for ``cuda``, which must be fed."""
        if self.workers is not None:
            return self.workers
        return min(8, os.cpu_count() or 1) if kind == "cuda" else 1
