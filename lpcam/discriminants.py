"""Fisher's vectors without training: one regularised Fisher discriminant a class, from moments of the features.

With f̂ = f / ‖f‖ over the local features of all training photos, m their mean, Σ their covariance and
s = trace(Σ) / C, class n has

    v_n ∝ (Σ + λ s I)^-1 (μ_n − ρ_n)        b_n = v_n · m

where μ_n is the mean of f̂ over its object positions and ρ_n over the rest of the photos that carry it. The first pass
splits positions by the CAM, every further one by the maps that the last pass's vectors make of the same features
(`lpcam.methods.fisher`). All that is needed of a photo are sums over its positions: nothing is drawn and nothing
clustered, so there is no seed, and the sums of blocks of photos add up to those of all. The file is one safetensors
file with what made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.errors import LpcamError
from lpcam.methods.fisher import discriminant_activation
from lpcam.prototypes import MadeFrom
from lpcam.tensorfile import FileKind, identity, require_kinds
from lpcam.views import normalise

SCHEMA = 1
FILE = FileKind("lpcam-discriminants", "discriminant file", "lpcam cluster --method fisher")
Summed = TypeVar("Summed", "Scatter", "Sides")


@dataclass(frozen=True)
class FisherProfile:
    """Hyper-parameters of the discriminants.

    Attributes:
        tau: Positions with CAM > tau are object positions of the first pass, all others are rest.
        own_tau: The same of every further pass, for its own maps.
        ridge: λ, in mean variances of a channel.
        passes: Times that the positions are split.

    Raises:
        LpcamError: a number is out of range.
    """

    tau: float = 0.25
    own_tau: float = 0.1
    ridge: float = 1.0
    passes: int = 3

    def __post_init__(self) -> None:
        for name in ("tau", "own_tau"):
            if not 0 <= getattr(self, name) < 1:
                raise LpcamError(f"{name} is {getattr(self, name)}: choose a value in [0, 1)")
        if not 0 < self.ridge < float("inf"):
            raise LpcamError(f"ridge is {self.ridge}: choose a number above 0, such as 1")
        if self.passes < 1:
            raise LpcamError(f"passes is {self.passes}: choose 1 or more")


@dataclass(frozen=True)
class DiscriminantProvenance(MadeFrom):
    """What made discriminants; the seed is always 0, nothing is random.

    Attributes:
        profile: Hyper-parameters.
    """

    profile: FisherProfile = field(default_factory=FisherProfile)


@dataclass(frozen=True)
class Seen:
    """What is known of one photo.

    Attributes:
        features: float [M, C], its local features; rows that are zero or not finite count nowhere.
        labels: Its k class indices.
        maps: float [k, M], the CAM of each at the same positions, 0..1.
    """

    features: Tensor
    labels: tuple[int, ...]
    maps: Tensor


@dataclass(frozen=True)
class Scatter:
    """Moments of all positions.

    Attributes:
        count: int64 [], positions.
        total: float64 [C], Σ f̂.
        products: float64 [C, C], Σ f̂ f̂ᵀ.
    """

    count: Tensor
    total: Tensor
    products: Tensor

    @classmethod
    def none(cls, channels: int, device: str = "cpu") -> Scatter:
        """Return the moments of no position."""
        sums = torch.zeros(channels + 1, channels, dtype=torch.float64, device=device)
        return cls(torch.zeros((), dtype=torch.int64), sums[0].clone(), sums[1:].clone())

    @property
    def mean(self) -> Tensor:
        """float64 [C]: m."""
        return self.total / self.count.clamp_min(1)

    @property
    def covariance(self) -> Tensor:
        """float64 [C, C]: Σ."""
        return self.products / self.count.clamp_min(1) - torch.outer(self.mean, self.mean)

    def add(self, rows: Tensor) -> None:
        """Count positions with these directions, float32 [M, C], in place."""
        self.count.add_(len(rows))
        self.total.add_(rows.double().sum(dim=0))
        self.products.add_(rows.T @ rows)


@dataclass(frozen=True)
class Sides:
    """Sums over the object positions and over the rest of every class.

    Attributes:
        counts: int64 [2, K], positions: object, rest.
        sums: float64 [2, K, C], Σ f̂.
    """

    counts: Tensor
    sums: Tensor

    @classmethod
    def none(cls, classes: int, channels: int, device: str = "cpu") -> Sides:
        """Return the sums over no position."""
        return cls(
            torch.zeros(2, classes, dtype=torch.int64),
            torch.zeros(2, classes, channels, dtype=torch.float64, device=device),
        )

    def add(self, rows: Tensor, labels: Sequence[int], objects: Tensor) -> None:
        """Count the positions of a photo for its own classes, in place.

        Args:
            rows: float32 [M, C], the directions.
            labels: k class indices.
            objects: bool [k, M], the object positions of each; all others are rest.
        """
        own = list(labels)
        for side, inside in enumerate((objects, ~objects)):
            self.counts[side, own] += inside.sum(dim=1).cpu()
            self.sums[side, own] += (inside.to(rows.dtype) @ rows).double()


@dataclass(frozen=True)
class Moments:
    """What one pass sums over photos.

    Attributes:
        sides: Of every class.
        scatter: Of all positions; of the first pass only.
    """

    sides: Sides
    scatter: Scatter | None

    @classmethod
    def of(cls, parts: Sequence[Moments]) -> Moments:
        """Return those of several blocks of photos together, added in their order; there must be one."""
        first, *others = (part for part in parts)
        for other in others:
            for sums, more in zip(first.tensors(), other.tensors(), strict=True):
                sums.add_(more)
        return first

    def tensors(self) -> tuple[Tensor, ...]:
        """Return everything that is summed."""
        scatter = () if self.scatter is None else (self.scatter.count, self.scatter.total, self.scatter.products)
        return self.sides.counts, self.sides.sums, *scatter


@dataclass(frozen=True)
class Lines:
    """The discriminants of all classes.

    Attributes:
        vectors: float32 [K, C], v_n, of length 1; zero for a class that never had an object position.
        offsets: float32 [K], b_n.
    """

    vectors: Tensor
    offsets: Tensor

    @classmethod
    def none(cls, classes: int, channels: int) -> Lines:
        """Return what is known of the classes before the first pass."""
        return cls(torch.zeros(classes, channels), torch.zeros(classes))


def moments_of(
    photos: Iterable[Seen], classes: int, channels: int, tau: float, lines: Lines | None = None, device: str = "cpu"
) -> Moments:
    """Return what a pass sums over photos, one photo after the other, on the CPU.

    Args:
        photos: Features, labels and CAMs. One without labels counts among all positions.
        classes: K.
        channels: C.
        tau: Positions whose map is above are object positions, all others are rest.
        lines: Whose maps split the positions; None is the first pass, which takes the CAM.
        device: Where the sums are made.
    """
    sides = Sides.none(classes, channels, device)
    scatter = Scatter.none(channels, device) if lines is None else None
    for photo in photos:
        rows, kept = directions(photo.features.to(device))
        if len(rows) == 0:
            continue
        maps = photo.maps[:, kept.cpu()].to(device) if lines is None else own_maps(rows, lines, photo.labels)
        sides.add(rows, photo.labels, maps > tau)
        if scatter is not None:
            scatter.add(rows)
    return Moments(_here(sides), None if scatter is None else _here(scatter))


def directions(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows that have a direction, each at length 1: float [M, C] → float32 [M', C], and which: bool [M]."""
    rows = features.float()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    kept = lengths.isfinite() & (lengths > 0)
    return rows[kept] / lengths[kept, None], kept


def own_maps(rows: Tensor, lines: Lines, labels: Sequence[int]) -> Tensor:
    """Return the normalised maps of a photo's own classes at its positions.

    Args:
        rows: float32 [M, C], the directions of its features.
        lines: Of all classes.
        labels: k class indices.

    Returns:
        float32 [k, M] in 0..1.
    """
    vectors, offsets = (part[list(labels)].to(rows.device) for part in (lines.vectors, lines.offsets))
    return normalise(discriminant_activation(rows.T[None, :, None], vectors, offsets)[0])[:, 0]


def fit(scatter: Scatter, sides: Sides, ridge: float, before: Lines) -> Lines:
    """Return the discriminants of one pass.

    Args:
        scatter: Moments of all positions.
        sides: Sums over the sides of every class. A class without rest is held against the mean of all positions.
        ridge: λ.
        before: Kept for a class without an object position, or without a difference between its sides.
    """
    counts = sides.counts[..., None]
    objects, rest = sides.sums / counts.clamp_min(1)
    rest = torch.where(counts[1] > 0, rest, scatter.mean)
    differences = torch.where(counts[0] > 0, objects - rest, 0)
    vectors = F.normalize(_whitened(differences, scatter.covariance, ridge), dim=1, eps=1e-300)
    found = vectors.any(dim=1)
    return Lines(
        torch.where(found[:, None], vectors.float(), before.vectors),
        torch.where(found, (vectors @ scatter.mean).float(), before.offsets),
    )


@dataclass(frozen=True)
class Discriminants:
    """The discriminants of every class of a data set.

    Attributes:
        lines: Of all classes.
        counts: int64 [2, K], object and rest positions of the last pass.
        provenance: What made them.
    """

    lines: Lines
    counts: Tensor
    provenance: DiscriminantProvenance

    @property
    def sha256(self) -> str:
        """Identity: over all tensors and the provenance."""
        return identity(_pack(self), _describe(self.provenance))

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Return what ``lpcam cluster --method fisher --json`` reports for every class name."""
        objects, rest = self.counts.tolist()
        return {
            name: {"object_vectors": inside, "rest_vectors": outside}
            for name, inside, outside in zip(self.provenance.classes, objects, rest, strict=True)
        }

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, atomically."""
        FILE.save(path, _pack(self), _describe(self.provenance))

    @classmethod
    def load(cls, path: Path | str) -> Discriminants:
        """Read a discriminant file.

        Raises:
            LpcamError: the file is missing, damaged or of another kind.
        """
        return FILE.load(path, _unpack)


def _here(sums: Summed) -> Summed:
    return type(sums)(*(getattr(sums, part.name).cpu() for part in fields(sums)))


def _whitened(differences: Tensor, covariance: Tensor, ridge: float) -> Tensor:
    """Return (Σ + λ s I)^-1 d for every row d: float64 [K, C]. Without any variance the differences stay."""
    spread = covariance.diagonal().mean()
    if spread <= 1e-12:
        return differences
    damped = covariance / spread + ridge * torch.eye(len(covariance), dtype=covariance.dtype)
    solved: Tensor = torch.linalg.solve(damped, differences.T)
    return solved.T


def _describe(provenance: DiscriminantProvenance) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(provenance)}, sort_keys=True)


def _pack(made: Discriminants) -> dict[str, Tensor]:
    return {"vectors": made.lines.vectors, "offsets": made.lines.offsets, "counts": made.counts}


def _unpack(tensors: dict[str, Tensor], description: dict[str, Any]) -> Discriminants:
    if description.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    profile = FisherProfile(**description.pop("profile"))
    provenance = DiscriminantProvenance(**{**description, "classes": tuple(description["classes"])}, profile=profile)
    require_kinds(tensors, {"vectors": (torch.float32, 2), "offsets": (torch.float32, 1), "counts": (torch.int64, 2)})
    lines = Lines(tensors["vectors"], tensors["offsets"])
    if not bool(lines.vectors.isfinite().all() and lines.offsets.isfinite().all()):
        raise ValueError("discriminants that are not finite")
    if not len(provenance.classes) == len(lines.vectors) == len(lines.offsets) == tensors["counts"].shape[1]:
        raise ValueError("discriminants of another number of classes")
    return Discriminants(lines, tensors["counts"], provenance)
