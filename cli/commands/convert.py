"""``lpcam convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lpcam.refiners import REFINERS
from lpcam.workspace import Workspace

from ..completing import one_of
from ..helping import Command
from ..options import (
    data_options,
    device_option,
    idle_seed_option,
    output_options,
    overwrite_option,
    part_options,
    take,
    take_data_source,
    take_parts,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import exit_for, print_json, print_stage

_FOLDER = click.Path(path_type=Path)


@click.command("convert", cls=Command, first=("source", "from_refiner", "target", "to_refiner"))
@workspace_option
@click.option("--from", "source", type=_FOLDER, required=True, help="Folder of the seeds.")
@click.option("--from-refiner", shell_complete=one_of(tuple(REFINERS)), required=True, help="Family they are of.")
@click.option("--to", "target", type=_FOLDER, required=True, help="Folder of the new seeds.")
@click.option("--to-refiner", shell_complete=one_of(tuple(REFINERS)), required=True, help="Family they shall be of.")
@part_options
@data_options(required=False)
@device_option
@idle_seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Turn seeds of one family into another's.

    Seeds that are there are kept, so an interrupted run goes on where it was. The photos are needed only for --crf and
    --saliency, and for photos without classes of families that keep no size of them (amn, psa, seam, edam, mctformer).

    \b
    Example:
      lpcam convert --from cams --from-refiner irn --to out_cam --to-refiner psa
    """
    from lpcam import corridor

    options.pop("device")  # nothing is computed on a device, and no workspace is needed
    source, target = options.pop("source"), options.pop("target")
    with shown_progress(quiet=as_json) as progress:
        report = corridor.convert(
            source,
            target,
            parts=take_parts(options),
            data=take_data_source(options),
            progress=progress,
            **take(options, "from_refiner", "to_refiner", "split", "overwrite"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_stage(report, "seeds", target, report.next_steps)
    exit_for([report])
