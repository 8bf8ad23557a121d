"""``lpcam extract-features``."""

from __future__ import annotations

from typing import Any

import click

from lpcam.workspace import Workspace

from ..helping import Command
from ..options import (
    classifier_options,
    data_options,
    dtype_option,
    execution_options,
    idle_seed_option,
    output_options,
    overwrite_option,
    placement_options,
    scales_option,
    take,
    take_classifier_source,
    take_data_source,
    take_execution,
    take_placement,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import exit_for, print_json, print_stage


@click.command("extract-features", cls=Command, first=("dataset", "root", "arch", "weights", "workspace"))
@workspace_option
@data_options(required=True)
@classifier_options
@scales_option
@dtype_option
@click.option("--shard-size", type=int, help="Photos a file of the store. [default: 32]")
@execution_options
@placement_options(divided=True)
@idle_seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Write the features of a data set under a pretrained classifier.

    One pass over the photos: the local features at scale 1, and the multi-scale CAM that splits them. What is
    complete is kept, so an interrupted run goes on where it was.

    \b
    Example:
      lpcam extract-features --dataset voc --root VOC2012 --split train --arch resnet50 --weights res50_cam.pth
    """
    from lpcam import corridor

    with shown_progress(quiet=as_json) as progress:
        report = corridor.extract_features(
            workspace,
            take_data_source(options),
            take_classifier_source(options),
            execution=take_execution(options),
            placement=take_placement(options),
            progress=progress,
            **take(options, "scales", "dtype", "shard_size", "overwrite"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_stage(report, "features", workspace.features, [f"lpcam cluster -w {workspace.root}"])
    exit_for([report])
