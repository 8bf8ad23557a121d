"""``lpcam import-prototypes``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lpcam.workspace import Workspace

from ..helping import Command
from ..options import (
    classifier_options,
    data_options,
    device_option,
    idle_seed_option,
    output_options,
    overwrite_option,
    take,
    take_classifier_source,
    take_data_source,
    workspace_option,
)
from ..rendering import print_imported, print_json

_FILE = click.Path(path_type=Path)


@click.command(
    "import-prototypes", cls=Command, first=("class_prototypes", "context_prototypes", "arch", "weights", "workspace")
)
@workspace_option
@click.option("--class-prototypes", type=_FILE, required=True, help="File of class prototypes (class_ceneters.pt).")
@click.option("--context-prototypes", type=_FILE, required=True, help="File of context prototypes (class_context.pt).")
@classifier_options
@data_options(required=False)
@device_option
@idle_seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Take over the prototypes of the published code.

    The files hold a tensor [P, C] for every class; the classifier must be the one they were made with. The names of the
    classes come from --classes or from the data set, whose photos 'lpcam generate' then takes if no others are named.

    \b
    Example:
      lpcam import-prototypes --class-prototypes class_ceneters.pt --context-prototypes class_context.pt \\
        --arch resnet50 --weights res50_cam.pth --dataset voc --root VOC2012 --split train
      lpcam generate --refiner irn
    """
    from lpcam import corridor

    classes = {} if options["dataset"] else take(options, "classes")
    report = corridor.import_prototypes(
        workspace,
        take_classifier_source(options),
        data=take_data_source(options),
        **classes,
        **take(options, "class_prototypes", "context_prototypes", "device", "overwrite"),
    )
    if as_json:
        print_json(report.as_json())
    else:
        print_imported(report, workspace.prototypes, [f"lpcam generate -w {workspace.root} --refiner irn"])
