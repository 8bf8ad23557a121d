"""``lpcam cluster``."""

from __future__ import annotations

from typing import Any

import click

from lpcam.errors import unknown
from lpcam.workspace import Workspace

from ..completing import CLUSTERED, KMEANS, one_of
from ..helping import Command
from ..options import (
    device_option,
    discriminant_options,
    output_options,
    overwrite_option,
    placement_options,
    profile_options,
    refuse_strangers,
    seed_option,
    spread_option,
    take,
    take_discriminants,
    take_placement,
    take_profile,
    take_support,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import print_clusters, print_discriminants, print_json, print_support


@click.command("cluster", cls=Command, first=("workspace", "method", "profile", "k"))
@workspace_option
@profile_options
@click.option(
    "--method",
    shell_complete=one_of(CLUSTERED),
    help="Whose: lpcam, pacam (context prototypes, CPAL) or fisher (discriminants). [default: lpcam]",
)
@click.option("--bank-size", type=int, help="With --method pacam: most images in a class's bank. [default: 1000]")
@discriminant_options
@click.option("--kmeans", shell_complete=one_of(KMEANS), help="k-means engine: faiss, torch or auto. [default: auto]")
@device_option
@placement_options(divided=False)
@spread_option
@seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Build class prototypes and context prototypes from the features.

    For LPCAM every class is split by its CAM against tau, both sides are clustered by cosine, and the centres are
    filtered by the classifier's weights. For PACAM the mean features under the CAM, one an image, are clustered into
    at most k (50) context prototypes a class. For Fisher nothing is clustered: the class's vector is the difference of
    the means of both sides in the whitened space of all features.

    \b
    Example:
      lpcam cluster --profile voc --restarts 3
      lpcam cluster --processes 4 --spread
      lpcam cluster --method pacam
      lpcam cluster --method fisher
    """
    method = options.pop("method") or "lpcam"
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    build, show = _METHODS[method]
    with shown_progress(quiet=as_json) as progress:
        report = build(workspace, options, progress)
    if as_json:
        print_json(report.as_json())
    else:
        show(report, workspace, [f"lpcam generate -w {workspace.root} --method {method} --refiner irn"])


def _prototypes(workspace: Workspace, options: dict[str, Any], progress: Any) -> Any:
    from lpcam import corridor

    refuse_strangers(options)
    spread = take(options, "spread")
    return corridor.cluster(workspace, profile=take_profile(options), **spread, **_shared(options), progress=progress)


def _support(workspace: Workspace, options: dict[str, Any], progress: Any) -> Any:
    from lpcam import corridor

    return corridor.cluster_support(workspace, profile=take_support(options), **_shared(options), progress=progress)


def _discriminants(workspace: Workspace, options: dict[str, Any], progress: Any) -> Any:
    from lpcam import corridor

    profile = take_discriminants(options)
    return corridor.cluster_discriminants(workspace, profile=profile, **_shared(options), progress=progress)


def _show_prototypes(report: Any, workspace: Workspace, steps: list[str]) -> None:
    print_clusters(report, workspace.prototypes, steps)


def _show_support(report: Any, workspace: Workspace, steps: list[str]) -> None:
    print_support(report, workspace.support, steps)


def _show_discriminants(report: Any, workspace: Workspace, steps: list[str]) -> None:
    print_discriminants(report, workspace.discriminants, steps)


_METHODS = {
    "lpcam": (_prototypes, _show_prototypes),
    "pacam": (_support, _show_support),
    "fisher": (_discriminants, _show_discriminants),
}


def _shared(options: dict[str, Any]) -> dict[str, Any]:
    named = take(options, "kmeans", "device", "seed", "overwrite")
    return {**named, "placement": take_placement(options)}
