"""Which methods make the maps, and what is done with the maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lpcam.errors import LpcamError

from .declaring import Command, names_option, stacked
from .taking import take

methods_option = names_option(
    "--method",
    "methods",
    help="lpcam, cam, class-prototypes, iscam (SIPE), pacam (CPAL) or fisher, or several: cam,lpcam. [default: lpcam]",
)


def awareness_options(prefix: str = "") -> Callable[[Command], Command]:
    """Return the options of how PACAM weighs its context; metric and top-K may have a prefix."""
    metric, top = f"--{prefix}metric", f"--{prefix}top"
    return stacked(
        click.option(
            metric, "metric", help="Of PACAM's positiveness: dot, cosine, euclidean or learned. [default: dot]"
        ),
        click.option(top, "top", type=int, help="Context prototypes that count for a photo. [default: 20]"),
        click.option("--no-bank", "bank", flag_value=False, default=None, help="PACAM without context prototypes."),
        click.option("--no-alignment", "alignment", flag_value=False, default=None, help="PACAM without the shift."),
        click.option(
            "--no-positiveness", "positiveness", flag_value=False, default=None, help="PACAM with equal weights."
        ),
    )


method_options = stacked(
    click.option("--iscam-from", help="What IS-CAM's seeds grow from: cam or lpcam. [default: cam]"),
    click.option("--iscam-background", type=float, help="Weight of the background in IS-CAM's seeds. [default: .5]"),
    click.option(
        "--iscam-labels-only",
        is_flag=True,
        default=None,
        help="Let no class compete for IS-CAM's seeds that is not in the photo.",
    ),
    click.option("--iscam-levels", type=int, help="Last levels of the network that IS-CAM compares. [default: 4]"),
    awareness_options("pacam-"),
)

propagation_options = stacked(
    click.option("--propagate", is_flag=True, default=None, help="Let the maps walk over positions that look alike."),
    click.option(
        "--propagate-neighbours",
        "neighbours",
        type=float,
        help="Share of the positions that look alike, which chooses the power. [default: .04]",
    ),
    click.option(
        "--propagate-power", "power", type=float, help="Power of the cosines, one for all photos. [by neighbours]"
    ),
    click.option(
        "--propagate-restart",
        "restart",
        type=float,
        help="Share of its start that a position keeps at a step, times classes². [default: .05]",
    ),
    click.option("--propagate-steps", "steps", type=int, help="Steps of the walk. [default: 30]"),
    click.option("--propagate-levels", "levels", type=int, help="Levels of the network that look. [default: 2]"),
    click.option(
        "--no-floor", "floor", flag_value=False, default=None, help="Leave its least value on a map that walked."
    ),
    click.option("--pamr", "edges", flag_value="pamr", help="Settle the maps on the photo's edges: --edges pamr."),
    click.option("--edges", help="The same by pamr, or by the dense CRF: crf. [default: none]"),
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
