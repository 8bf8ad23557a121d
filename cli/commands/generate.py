"""``lpcam generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lpcam.workspace import Workspace

from ..completing import ATTENTIONS, one_of
from ..helping import Command
from ..options import (
    data_options,
    execution_options,
    idle_seed_option,
    method_options,
    methods_option,
    output_options,
    overwrite_option,
    part_options,
    placement_options,
    propagation_options,
    refiner_option,
    scales_option,
    spell_data_source,
    take,
    take_data_source,
    take_execution,
    take_parts,
    take_placement,
    take_settings,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import exit_for, print_json, print_stage


@click.command("generate", cls=Command, first=("workspace", "methods", "refiner"))
@workspace_option
@refiner_option
@part_options
@methods_option
@method_options
@propagation_options
@scales_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the seeds. [default: in the workspace]")
@click.option(
    "--attention",
    shell_complete=one_of(ATTENTIONS),
    help="Put MCTformer's attention on the maps: fuse, or refine (and the patch affinity).",
)
@data_options(required=False)
@execution_options
@placement_options(divided=True)
@idle_seed_option
@overwrite_option
@output_options
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Write the seeds of every photo in a refiner's format.

    The photos are those of the features, unless others are named. Seeds that are there are kept, so an interrupted
    run goes on where it was.

    \b
    Example:
      lpcam generate --refiner irn
      lpcam generate --refiner irn --propagate --pamr
      lpcam generate --refiner psa --crf
      lpcam generate --refiner irn --dataset voc --root VOC2012 --split train_aug --labels cls_labels.npy --out cams
    """
    from lpcam import corridor

    seeds, steps = options["out"] or workspace.root / "seeds", _evaluations(workspace, options)
    with shown_progress(quiet=as_json) as progress:
        report = corridor.generate(
            workspace,
            data=take_data_source(options),
            parts=take_parts(options),
            settings=take_settings(options),
            execution=take_execution(options),
            placement=take_placement(options),
            progress=progress,
            **take(options, "methods", "refiner", "scales", "out", "split", "attention", "overwrite"),
        )
    if as_json:
        print_json(report.as_json())
    else:
        print_stage(report, "seeds", seeds, [*report.next_steps, *steps])
    exit_for([report])


def _evaluations(workspace: Workspace, options: dict[str, Any]) -> list[str]:
    """Return the commands that score what is about to be written, one a method."""
    methods, out = options["methods"] or ("lpcam",), options["out"]
    refiner, photos = (f" --refiner {options['refiner']}" if options["refiner"] else ""), spell_data_source(options)
    seeds = {name: out if out is None or len(methods) == 1 else out / name for name in methods}
    return [
        f"lpcam evaluate -w {workspace.root} --method {name}{refiner}{photos}"
        + (f" --seeds {seeds[name]}" if out else "")
        + "   (where there are masks)"
        for name in methods
    ]
