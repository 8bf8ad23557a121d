"""``lpcam cluster``."""

from __future__ import annotations

from typing import Any

import click

from lpcam.workspace import Workspace

from ..options import (
    device_option,
    json_option,
    overwrite_option,
    placement_options,
    profile_options,
    seed_option,
    take,
    take_placement,
    take_profile,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import print_clusters, print_json


@click.command("cluster")
@workspace_option
@profile_options
@click.option("--kmeans", help="k-means engine: faiss, torch or auto. [default: auto]")
@device_option
@placement_options(divided=False)
@seed_option
@overwrite_option
@json_option
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Build class prototypes and context prototypes from the features.

    Every class is split by its CAM against tau, both sides are clustered by cosine, and the centres are filtered
    by the classifier's weights.

    \b
    Example:
      lpcam cluster --profile voc --restarts 3
    """
    from lpcam import corridor

    with shown_progress(quiet=as_json) as progress:
        report = corridor.cluster(
            workspace,
            profile=take_profile(options),
            placement=take_placement(options),
            progress=progress,
            **take(options, "kmeans", "device", "seed", "overwrite"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_clusters(report, workspace.prototypes)
        click.echo(f"next: lpcam generate -w {workspace.root} --refiner irn")
