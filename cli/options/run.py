"""What every command may be told about its run: folder, seed, what is replaced, what is printed."""

from __future__ import annotations

from pathlib import Path

import click

from lpcam.errors import LpcamError
from lpcam.workspace import DEFAULT as DEFAULT_WORKSPACE
from lpcam.workspace import Workspace

from ..verbosity import verbosity_options
from .declaring import FILE, options_under, stacked

_option = options_under("Run and output")


def folder(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    """Take a folder, which need not be there yet.

    Raises:
        LpcamError: it is a file.
    """
    if value.is_file():
        raise LpcamError(f"{value} is a file: give the folder of a run by --workspace")
    return value


def _workspace(ctx: click.Context, param: click.Parameter, value: Path) -> Workspace:
    return Workspace(folder(ctx, param, value))


workspace_option = _option(
    "-w",
    "--workspace",
    type=FILE,
    default=DEFAULT_WORKSPACE,
    show_default=True,
    callback=_workspace,
    help="Folder of the run.",
)
json_option = _option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, logs on stderr, no progress."
)
output_options = stacked(json_option, verbosity_options)
overwrite_option = _option("--overwrite", is_flag=True, help="Replace what belongs to another run.")
seed_option = _option("--seed", type=int, help="Of everything random. [default: 0]")
idle_seed_option = _option(
    "--seed", type=int, expose_value=False, help="Nothing is random here; taken so that scripts may pass it everywhere."
)
