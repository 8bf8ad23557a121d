"""``lpcam doctor``."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from lpcam.workspace import Workspace

from ..completing import ARCHITECTURES, one_of
from ..helping import Command
from ..options import (
    data_options,
    dtype_option,
    idle_device_option,
    idle_seed_option,
    methods_option,
    output_options,
    refiner_option,
    scales_option,
    take,
    take_data_source,
    workspace_option,
)
from ..rendering import print_diagnoses, print_json

_BROKEN = 1


@click.command("doctor", cls=Command, first=("workspace", "dataset", "root", "arch"))
@workspace_option
@data_options(required=False)
@click.option("--arch", shell_complete=one_of(ARCHITECTURES), help="Network of the planned run.")
@click.option("--stride", type=int, help="Its output stride.")
@scales_option
@dtype_option
@methods_option
@refiner_option
@idle_device_option
@idle_seed_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Say what may go wrong: packages, machine, disk, and the size of the planned run.

    Each thing is ok, doubtful or broken, with what to do about it; the exit code is 1 where something is broken. A run
    is planned where photos are named, or the workspace has features: then what it will write is held against what is
    free, and the largest photo against the memory. Nothing is left behind.

    \b
    Example:
      lpcam doctor
      lpcam doctor --dataset voc --root VOC2012 --split train_aug --labels cls_labels.npy --arch resnet50
      lpcam doctor -w lpcam_work --method cam,lpcam --refiner psa
    """
    from lpcam.doctor import BROKEN, Planned, examine

    chosen = take(options, "arch", "stride", "scales", "dtype", "methods", "refiner", "split")
    data = partial(take_data_source, options) if any(value is not None for value in options.values()) else None
    planned = Planned(workspace, data=data, **chosen)
    found = list(examine(planned))
    if as_json:
        print_json({"diagnoses": [one.as_json() for one in found]})
    else:
        print_diagnoses(found)
    if any(one.state == BROKEN for one in found):
        raise click.exceptions.Exit(_BROKEN)
