"""``lpcam run``."""

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
    method_options,
    methods_option,
    output_options,
    overwrite_option,
    placement_options,
    profile_options,
    propagation_options,
    refiner_option,
    scales_option,
    seed_option,
    take,
    take_classifier_source,
    take_data_source,
    take_execution,
    take_placement,
    take_profile,
    take_settings,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import (
    exit_for,
    print_clusters,
    print_discriminants,
    print_json,
    print_scores,
    print_stage,
    print_support,
)


@click.command("run", cls=Command, first=("dataset", "root", "arch", "weights", "methods", "workspace"))
@workspace_option
@data_options(required=True)
@classifier_options
@methods_option
@method_options
@propagation_options
@refiner_option
@scales_option
@dtype_option
@click.option("--no-dump", "dump", flag_value=False, default=None, help="Cluster from memory, write no features.")
@profile_options
@execution_options
@placement_options(divided=False)
@seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Extract features, cluster, generate and (where there are masks) evaluate.

    Stages and photos that are complete are kept, so an interrupted run goes on where it was.

    \b
    Example:
      lpcam run --dataset voc --root VOC2012 --arch resnet50 --weights res50_cam.pth --method cam,lpcam
    """
    from lpcam import corridor

    dumped = options["dump"] is None
    with shown_progress(quiet=as_json) as progress:
        report = corridor.run(
            workspace,
            take_data_source(options),
            take_classifier_source(options),
            settings=take_settings(options),
            profile=take_profile(options),
            execution=take_execution(options),
            placement=take_placement(options),
            progress=progress,
            **take(options, "methods", "refiner", "scales", "dtype", "seed", "dump", "overwrite"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_stage(report.extracted, "features", workspace.features if dumped else "memory, not kept")
        print_clusters(report.clustered, workspace.prototypes)
        if report.supported is not None:
            print_support(report.supported, workspace.support)
        if report.discriminated is not None:
            print_discriminants(report.discriminated, workspace.discriminants)
        look = f"lpcam report -w {workspace.root}"
        steps = [*report.generated.next_steps, *([] if report.evaluated else [look])]
        print_stage(report.generated, "seeds", workspace.root / "seeds", steps)
        if report.evaluated:
            print_scores(report.evaluated, workspace.root / "evaluation", [look])
    exit_for([report.extracted, report.generated])
