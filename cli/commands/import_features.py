"""``lpcam import-features``."""

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
    dtype_option,
    idle_seed_option,
    output_options,
    overwrite_option,
    take,
    take_classifier_source,
    take_data_source,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import print_json, print_stage

_FOLDER = click.Path(path_type=Path)


@click.command(
    "import-features", cls=Command, first=("dump", "cams", "dataset", "root", "arch", "weights", "workspace")
)
@workspace_option
@click.option(
    "--dump", type=_FOLDER, required=True, help="Folder of tensor_feature.pt, tensor_label.pt and name2id.npy."
)
@click.option("--cams", type=_FOLDER, required=True, help="Folder of the CAMs that split the features (cam_mask).")
@data_options(required=True)
@classifier_options
@dtype_option
@device_option
@idle_seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Take over a feature dump of the published code.

    The dump lacks the CAMs that split the features: they are read from <name>.npy in IRN's format. Data set and
    classifier must be those the dump was made with.

    \b
    Example:
      lpcam import-features --dump lpcam_work/cam_feature --cams lpcam_work/cam_mask \\
        --dataset voc --root VOC2012 --split train --labels cls_labels.npy --arch resnet50 --weights res50_cam.pth
      lpcam cluster
    """
    from lpcam import corridor

    with shown_progress(quiet=as_json) as progress:
        report = corridor.import_features(
            workspace,
            data=take_data_source(options),
            classifier=take_classifier_source(options),
            progress=progress,
            **take(options, "dump", "cams", "dtype", "device", "overwrite"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_stage(report, "imported features", workspace.features, [f"lpcam cluster -w {workspace.root}"])
