"""CPAL's context without training: a support bank of instance prototypes, clustered into context prototypes a class.

The instance prototype of an image and one of its classes is the mean of its features under the CAM
(`lpcam.methods.pacam.instance_prototypes`). The bank of a class holds those of at most so many images, and the centres
of its cosine k-means are the class's context prototypes. The support file is one safetensors file with what made it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.kmeans import kmeans
from lpcam.methods.pacam import instance_prototypes
from lpcam.prototypes import MadeFrom, derived_seed
from lpcam.tensorfile import FileKind, identity, require_kinds

SCHEMA = 1
FILE = FileKind("lpcam-support", "support file", "lpcam cluster --method pacam")
_START = 4  # purpose of a derived seed; 0 to 2 are LPCAM's


@dataclass(frozen=True)
class SupportProfile:
    """Hyper-parameters of the context prototypes.

    Attributes:
        bank: Most images a class whose instance prototypes are kept.
        k: Most context prototypes of a class.
        tau: Positions with CAM > tau make the instance prototype.
        restarts: Number of k-means starts; the one with the best objective is kept.
        iterations: Most k-means iterations of a start.

    Raises:
        LpcamError: a number is out of range.
    """

    bank: int = 1000
    k: int = 50
    tau: float = 0.3
    restarts: int = 1
    iterations: int = 100

    def __post_init__(self) -> None:
        for name in ("bank", "k", "restarts", "iterations"):
            if getattr(self, name) < 1:
                raise LpcamError(f"{name} is {getattr(self, name)}: choose 1 or more")
        if not 0 <= self.tau < 1:
            raise LpcamError(f"tau is {self.tau}: choose a value in [0, 1)")


@dataclass(frozen=True)
class SupportProvenance(MadeFrom):
    """What made a support.

    Attributes:
        profile: Hyper-parameters.
    """

    profile: SupportProfile = field(default_factory=SupportProfile)


@dataclass(frozen=True)
class ClassContext:
    """The context of one class.

    Attributes:
        vectors: float32 [P, C], context prototypes: raw means of instance prototypes.
        sizes: int64 [P], instances of each.
        instances: Instance prototypes in the bank.
    """

    vectors: Tensor
    sizes: Tensor
    instances: int

    def counts(self) -> dict[str, int]:
        """Return what ``lpcam cluster --method pacam --json`` reports for a class."""
        return {"instances": self.instances, "context_prototypes": len(self.vectors)}


def build_context(
    instances: Tensor, label: int, profile: SupportProfile, *, seed: int = 0, engine: str = "auto"
) -> ClassContext:
    """Cluster the bank of one class.

    Args:
        instances: float32 [N, C], its instance prototypes; those without a direction are left out.
        label: Class index.
        profile: Hyper-parameters.
        seed: Of the data set; each class derives its own.
        engine: k-means engine, see `lpcam.kmeans.kmeans`.
    """
    clusters = kmeans(
        instances,
        profile.k,
        seed=derived_seed(seed, label, _START),
        restarts=profile.restarts,
        iterations=profile.iterations,
        engine=engine,
    )
    return ClassContext(clusters.centres.cpu(), clusters.sizes.cpu(), int(clusters.sizes.sum()))


def instance_of(features: Tensor, cam: Tensor, tau: float) -> Tensor:
    """Return the instance prototype of rows of features: [h·w, C] and the CAM [h·w] → float32 [C]."""
    return instance_prototypes(features.float().T[:, None], cam[None, None], tau)[0]


@dataclass(frozen=True)
class Support:
    """The context prototypes of every class of a data set.

    Attributes:
        context: One `ClassContext` a class, by class index.
        provenance: What made them.
    """

    context: tuple[ClassContext, ...]
    provenance: SupportProvenance

    @property
    def sha256(self) -> str:
        """Identity: over all tensors and the provenance."""
        return identity(_pack(self.context), _describe(self.provenance))

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically."""
        FILE.save(path, _pack(self.context), _describe(self.provenance))

    @classmethod
    def load(cls, path: Path | str) -> Support:
        """Read a support file.

        Raises:
            LpcamError: the file is missing, damaged or of another kind.
        """
        return cls(*FILE.load(path, _unpack))


def _describe(provenance: SupportProvenance) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(provenance)}, sort_keys=True)


def _pack(context: tuple[ClassContext, ...]) -> dict[str, Tensor]:
    counts = torch.tensor([len(entry.vectors) for entry in context])
    return {
        "vectors": torch.cat([entry.vectors for entry in context]),
        "sizes": torch.cat([entry.sizes for entry in context]),
        "labels": torch.repeat_interleave(torch.arange(len(context)), counts),
        "instances": torch.tensor([entry.instances for entry in context]),
    }


_COLUMNS = {
    "vectors": (torch.float32, 2), "sizes": (torch.int64, 1), "labels": (torch.int64, 1), "instances": (torch.int64, 1),
}  # fmt: skip


def _unpack(tensors: dict[str, Tensor], description: dict[str, Any]) -> tuple[tuple[ClassContext, ...], Any]:
    if description.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    profile = SupportProfile(**description.pop("profile"))
    provenance = SupportProvenance(**{**description, "classes": tuple(description["classes"])}, profile=profile)
    require_kinds(tensors, _COLUMNS)
    if not bool(tensors["vectors"].isfinite().all()):
        raise ValueError("context prototypes that are not finite")
    rows = [tensors["labels"] == label for label in range(len(provenance.classes))]
    context = (
        ClassContext(tensors["vectors"][own], tensors["sizes"][own], int(count))
        for own, count in zip(rows, tensors["instances"].tolist(), strict=True)
    )
    return tuple(context), provenance
