"""The published hyper-parameters of LPCAM, one profile a data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from lpcam.errors import LpcamError, unknown

FILTERS = ("auto", "softmax", "rank", "quantile")
"""``auto`` is softmax for features without negative values, as the paper has them, and rank for others."""


@dataclass(frozen=True)
class Profile:
    """Hyper-parameters of the clustering stage.

    Attributes:
        k: Number of centres on each side (object, rest) of a class.
        tau: Positions with CAM > tau are object vectors, CAM < tau rest vectors (Eq. 2).
        class_threshold: μ_f: an object centre with z > μ_f is a class prototype (Eq. 4); of the softmax filter alone.
        context_low: A rest centre is a context prototype where context_low < z < context_high; the same.
        context_high: μ_b, the upper end.
        images_per_class: Number of images drawn for every class; 0 takes all, once.
        draw: How they are drawn: ``with`` replacement, as published, or ``without``; a class of fewer images then
            has each once.
        restarts: Number of k-means starts; the one with the best objective is kept.
        iterations: Most k-means iterations of a start.
        filter: Which centres become prototypes, one of `FILTERS`, see `lpcam.prototypes.select`.
        relative_threshold: μ_f is a share of the highest z among a class's object centres, which a weak classifier
            does not bring near 1; of the softmax filter alone.
        weigh_sizes: A prototype counts by the vectors of its cluster, in place of each the same.
        adaptive_k: K of each side of a class is halved while that costs little, see `lpcam.prototypes.build_class`.

    Departs from the paper: the last three, which are off in every profile.
    """

    k: int = 12
    tau: float = 0.1
    class_threshold: float = 0.9
    context_low: float = 0.05
    context_high: float = 0.9
    images_per_class: int = 0
    draw: str = "with"
    restarts: int = 1
    iterations: int = 100
    filter: str = "auto"
    relative_threshold: bool = False
    weigh_sizes: bool = False
    adaptive_k: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the hyper-parameters by name."""
        return asdict(self)


PROFILES = {
    "voc": Profile(),
    "coco": Profile(k=20, tau=0.25, context_low=0.0, context_high=0.5, images_per_class=100),
}
DEFAULT_PROFILE = "voc"
DRAWS = ("with", "without")


def get_profile(name: str = DEFAULT_PROFILE, **changes: float | str) -> Profile:
    """Return a published profile with some hyper-parameters changed.

    Args:
        name: ``voc`` or ``coco``.
        **changes: Fields of `Profile`.

    Raises:
        LpcamError: the profile is unknown or a value is out of range.

    >>> get_profile("coco", tau=0.2).tau, get_profile("coco").k
    (0.2, 20)
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    profile = replace(PROFILES[name], **changes)  # type: ignore[arg-type]
    _check(profile)
    return profile


def _check(profile: Profile) -> None:
    if profile.draw not in DRAWS:
        raise unknown("draw", profile.draw, DRAWS)
    for field, least in (("k", 1), ("images_per_class", 0), ("restarts", 1), ("iterations", 1)):
        if getattr(profile, field) < least:
            raise LpcamError(f"{field} is {getattr(profile, field)}: choose {least} or more")
    for field in ("tau", "class_threshold", "context_low", "context_high"):
        if not 0 <= getattr(profile, field) <= 1:
            raise LpcamError(f"{field} is {getattr(profile, field)}: choose a value in 0..1")
    if profile.filter not in FILTERS:
        raise unknown("filter", profile.filter, FILTERS)
    if profile.context_low >= profile.context_high:
        raise LpcamError(
            f"context_low {profile.context_low} is not below context_high {profile.context_high}: swap or widen them"
        )
