"""``lpcam evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lpcam.workspace import Workspace

from ..completing import METHODS, one_of
from ..helping import Command
from ..options import (
    LIST,
    data_options,
    device_option,
    idle_seed_option,
    names,
    output_options,
    refiner_option,
    take,
    take_data_source,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import print_json, print_scores


@click.command("evaluate", cls=Command, first=("workspace", "method", "split"))
@workspace_option
@click.option("--method", shell_complete=one_of(METHODS), help="Whose seeds are scored. [default: lpcam]")
@refiner_option
@click.option("--seeds", type=click.Path(path_type=Path), help="Folder of the seeds. [default: in the workspace]")
@data_options(required=False)
@click.option("--thresholds", help="start:stop:step, or a list. [default: 0:1:.01]")
@click.option(
    "--mean-over",
    metavar=LIST,
    callback=names,
    help="Classes the means are over, 'background' among them. [default: all]",
)
@device_option
@idle_seed_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Score seeds against true masks, at every threshold.

    mIoU: one confusion over the whole split, 255 ignored, mean over the classes seen in masks or seeds. What is
    printed is the best threshold's; the whole curve is in the JSON, which the workspace keeps.

    \b
    Example:
      lpcam evaluate --method lpcam --thresholds 0:1:.01
    """
    from lpcam import corridor

    options.pop("device")  # scores are counted on the CPU
    with shown_progress(quiet=as_json) as progress:
        report = corridor.evaluate(
            workspace,
            data=take_data_source(options),
            progress=progress,
            **take(options, "method", "refiner", "seeds", "split", "thresholds", "mean_over"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_scores([report], workspace.evaluation(report.method), [f"lpcam report -w {workspace.root}"])
