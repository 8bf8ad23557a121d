"""What prototypes, context and discriminants are made with."""

from __future__ import annotations

from typing import Any

from lpcam.errors import LpcamError
from lpcam.profiles import DRAWS, FILTERS, PROFILES

from ..completing import one_of
from .declaring import options_under, stacked
from .taking import given, spelled, take

_option = options_under("Clustering")

profile_options = stacked(
    _option(
        "--profile",
        shell_complete=one_of(tuple(PROFILES)),
        help="Published hyper-parameters: voc or coco. [default: voc]",
    ),
    _option("--k", type=int, help="Centres on each side of a class. [voc 12, coco 20]"),
    _option("--tau", type=float, help="CAM threshold between object and rest. [voc .1, coco .25]"),
    _option("--class-threshold", type=float, help="Least z of a class prototype. [.9]"),
    _option("--context-low", type=float, help="z of a context prototype is above this. [voc .05, coco 0]"),
    _option("--context-high", type=float, help="z of a context prototype is below this. [voc .9, coco .5]"),
    _option(
        "--filter",
        shell_complete=one_of(FILTERS),
        help="Of the centres: softmax (the paper's), rank, quantile or auto. [default: auto]",
    ),
    _option("--images-per-class", type=int, help="Images drawn for a class, 0 for all. [voc 0, coco 100]"),
    _option("--draw", shell_complete=one_of(DRAWS), help="Draw them 'with' or 'without' replacement. [with]"),
    _option("--restarts", type=int, help="k-means starts. [default: 1]"),
    _option("--iterations", type=int, help="Most iterations of a start. [default: 100]"),
    _option(
        "--relative-threshold",
        is_flag=True,
        default=None,
        help="--class-threshold is a share of the class's highest z.",
    ),
    _option("--weigh-sizes", is_flag=True, default=None, help="Prototypes count by the sizes of their clusters."),
    _option("--adaptive-k", is_flag=True, default=None, help="Halve K of a side while that costs little."),
)
discriminant_options = stacked(
    _option("--own-tau", type=float, help="With --method fisher: τ of the passes after the first. [default: .1]"),
    _option("--ridge", type=float, help="With --method fisher: λ, in mean variances. [default: 1]"),
    _option("--passes", type=int, help="With --method fisher: times that positions are split. [default: 3]"),
)
_DISCRIMINANT_FIELDS = ("own_tau", "ridge", "passes")
_PROFILE_FIELDS = (
    "k",
    "tau",
    "class_threshold",
    "context_low",
    "context_high",
    "images_per_class",
    "draw",
    "restarts",
    "iterations",
    "filter",
    "relative_threshold",
    "weigh_sizes",
    "adaptive_k",
)


def take_support(options: dict[str, Any]) -> Any:
    """Remove the options of PACAM's context and return the SupportProfile.

    Raises:
        LpcamError: an option was given that only another method knows.
    """
    from lpcam.support import SupportProfile

    own = {**take(options, "k", "tau", "restarts", "iterations"), **given(bank=options.pop("bank_size"))}
    _refuse_others(options, "pacam", "spread", *_DISCRIMINANT_FIELDS)
    return SupportProfile(**own)


def take_discriminants(options: dict[str, Any]) -> Any:
    """Remove the options of Fisher's discriminants and return the FisherProfile.

    Raises:
        LpcamError: an option was given that only another method knows.
    """
    from lpcam.discriminants import FisherProfile

    own = take(options, "tau", *_DISCRIMINANT_FIELDS)
    options.pop("seed")  # nothing is random
    _refuse_others(options, "fisher", "spread", "bank_size", "kmeans")
    return FisherProfile(**own)


def take_profile(options: dict[str, Any]) -> Any:
    """Remove the profile options and return the Profile."""
    from lpcam.profiles import get_profile

    name = take(options, "profile")
    return get_profile(*name.values(), **take(options, *_PROFILE_FIELDS))


def refuse_strangers(options: dict[str, Any]) -> None:
    """Remove what only the clustering of other methods than LPCAM knows.

    Raises:
        LpcamError: it was given.
    """
    if take(options, "bank_size"):
        raise LpcamError("--bank-size needs --method pacam: add it, or leave the option out")
    others = take(options, *_DISCRIMINANT_FIELDS)
    if others:
        raise LpcamError(f"--{spelled(others)} needs --method fisher: add it, or leave the option out")


def _refuse_others(options: dict[str, Any], method: str, *further: str) -> None:
    others = take(options, "profile", *_PROFILE_FIELDS, *further)
    if others:
        raise LpcamError(f"--{spelled(others)} does nothing with --method {method}: leave it out")
