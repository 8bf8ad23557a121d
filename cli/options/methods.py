"""Which methods make the maps, and what is done with the maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lpcam.errors import LpcamError

from ..completing import EDGES, METHODS, METRICS, one_of, several_of
from .declaring import LIST, Command, names, options_under, stacked
from .taking import take

_option = options_under("Methods")

methods_option = _option(
    "--method",
    "methods",
    metavar=LIST,
    callback=names,
    shell_complete=several_of(METHODS),
    help="lpcam, cam, class-prototypes, iscam (SIPE), pacam (CPAL) or fisher, or several: cam,lpcam. [default: lpcam]",
)


def awareness_options(prefix: str = "") -> Callable[[Command], Command]:
    """Return the options of how PACAM weighs its context; metric and top-K may have a prefix."""
    metric, top = f"--{prefix}metric", f"--{prefix}top"
    return stacked(
        _option(
            metric,
            "metric",
            shell_complete=one_of(METRICS),
            help="Of PACAM's positiveness: dot, cosine, euclidean or learned. [default: dot]",
        ),
        _option(top, "top", type=int, help="Context prototypes that count for a photo. [default: 20]"),
        _option("--no-bank", "bank", flag_value=False, default=None, help="PACAM without context prototypes."),
        _option("--no-alignment", "alignment", flag_value=False, default=None, help="PACAM without the shift."),
        _option("--no-positiveness", "positiveness", flag_value=False, default=None, help="PACAM with equal weights."),
    )


method_options = stacked(
    _option(
        "--iscam-from",
        shell_complete=one_of(("cam", "lpcam")),
        help="What IS-CAM's seeds grow from: cam or lpcam. [default: cam]",
    ),
    _option("--iscam-background", type=float, help="Weight of the background in IS-CAM's seeds. [default: .5]"),
    _option(
        "--iscam-labels-only",
        is_flag=True,
        default=None,
        help="Let no class compete for IS-CAM's seeds that is not in the photo.",
    ),
    _option("--iscam-levels", type=int, help="Last levels of the network that IS-CAM compares. [default: 4]"),
    awareness_options("pacam-"),
)

_walk_option = options_under("Walk and edges")
propagation_options = stacked(
    _walk_option("--propagate", is_flag=True, default=None, help="Let the maps walk over positions that look alike."),
    _walk_option(
        "--propagate-neighbours",
        "neighbours",
        type=float,
        help="Share of the positions that look alike, which chooses the power. [default: .04]",
    ),
    _walk_option(
        "--propagate-power", "power", type=float, help="Power of the cosines, one for all photos. [by neighbours]"
    ),
    _walk_option(
        "--propagate-restart",
        "restart",
        type=float,
        help="Share of its start that a position keeps at a step, times classes². [default: .05]",
    ),
    _walk_option("--propagate-steps", "steps", type=int, help="Steps of the walk. [default: 30]"),
    _walk_option("--propagate-levels", "levels", type=int, help="Levels of the network that look. [default: 2]"),
    _walk_option(
        "--no-floor", "floor", flag_value=False, default=None, help="Leave its least value on a map that walked."
    ),
    _walk_option("--pamr", "edges", flag_value="pamr", help="Settle the maps on the photo's edges: --edges pamr."),
    _walk_option(
        "--edges", shell_complete=one_of(EDGES), help="The same by pamr, or by the dense CRF: crf. [default: none]"
    ),
)


def take_settings(options: dict[str, Any]) -> Any:
    """Remove the method options and return the MethodSettings."""
    from lpcam.corridor import MethodSettings

    own = take(options, "iscam_from", "iscam_background", "iscam_labels_only", "iscam_levels")
    return MethodSettings(**own, pacam=take_awareness(options), propagation=take_propagation(options))


def take_propagation(options: dict[str, Any]) -> Any:
    """Remove the options of the walk and the edges and return the Propagation.

    Raises:
        LpcamError: one cannot be used, or says how to walk where nothing walks.
    """
    from lpcam.propagation import Propagation, Walk

    walks, own = options.pop("propagate"), take(options, "neighbours", "power", "restart", "steps", "levels", "floor")
    if own and not walks:
        name = next(iter(own))
        option = "no-floor" if name == "floor" else f"propagate-{name}"
        raise LpcamError(f"--{option} does nothing without --propagate: add it, or leave --{option} out")
    return Propagation(Walk(**own) if walks else None, **take(options, "edges"))


def take_awareness(options: dict[str, Any]) -> Any:
    """Remove the options of how PACAM weighs its context and return the Awareness.

    Raises:
        LpcamError: one cannot be used.
    """
    from lpcam.methods.pacam import Awareness

    try:
        return Awareness(**take(options, "metric", "top", "bank", "alignment", "positiveness"))
    except ValueError as error:
        raise LpcamError(f"the metric or the top-K of PACAM cannot be used: {error}") from error
