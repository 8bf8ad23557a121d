"""``lpcam inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lpcam.errors import LpcamError
from lpcam.workspace import DEFAULT, Workspace

from ..completing import ARCHITECTURES, one_of
from ..helping import Command
from ..options import (
    LIST,
    device_option,
    idle_seed_option,
    methods_option,
    names,
    output_options,
    refiner_option,
    take,
    workspace_option,
)
from ..pictures import show_picture
from ..rendering import conclude, print_findings, print_json

_OF_A_PHOTO = ("methods", "refiner", "classes", "threshold")


@click.command("inspect", cls=Command, first=("workspace", "methods", "out"))
@click.argument("path", type=click.Path(path_type=Path), default=DEFAULT)
@workspace_option
@methods_option
@click.option(
    "--class",
    "classes",
    metavar=LIST,
    callback=names,
    help="Of a photo: classes to look for. [default: those the data set says it has]",
)
@click.option("--threshold", type=float, help="Of the seeds that are drawn. [default: the evaluation's best, or .3]")
@refiner_option
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Picture of a photo's maps. [default: in workspace]")
@click.option("--no-show", "shows", is_flag=True, default=True, flag_value=False, help="Do not show the picture here.")
@click.option(
    "--arch", shell_complete=one_of(ARCHITECTURES), help="Of a checkpoint: hold its names against this architecture."
)
@device_option
@idle_seed_option
@output_options
def command(workspace: Workspace, path: Path, out: Path | None, shows: bool, as_json: bool, **options: Any) -> None:
    """Say what a file or folder holds, or what a method sees in a photo.

    PATH is a workspace (its stages, doubts and next command), a feature store or a shard, prototypes, PACAM's context,
    Fisher's discriminants, a checkpoint, class weights, a seed file or folder, image-level labels, or a photo.

    Of a photo the maps of every class and the seed are drawn into a PNG, and shown where the terminal can show
    pictures. The workspace's seeds are taken, or the maps are made with its classifier and prototypes.

    \b
    Example:
      lpcam inspect
      lpcam inspect lpcam_work/prototypes.safetensors
      lpcam inspect res50_cam.pth
      lpcam inspect VOC2012/JPEGImages/2007_000032.jpg --method cam,lpcam -o overlay.png
    """
    from lpcam.inspection import inspect, is_photo

    if is_photo(path):
        _photo(workspace, path, out, shows, as_json, options)
        return
    given = [name for name in _OF_A_PHOTO if options[name] is not None]
    if given or out is not None:
        option = {"methods": "method", "classes": "class"}.get(given[0], given[0]) if given else "out"
        raise LpcamError(f"--{option} is for photos, and {path} is none: leave it out")
    findings = inspect(path, **take(options, "arch"))
    if as_json:
        print_json(findings.as_json())
    else:
        print_findings(findings)


def _photo(
    workspace: Workspace, path: Path, out: Path | None, shows: bool, as_json: bool, options: dict[str, Any]
) -> None:
    from lpcam.inspection import maps_of_photo, write_overlay

    found = maps_of_photo(workspace, path, **take(options, *_OF_A_PHOTO, "device"))
    out = out or workspace.root / "inspection" / f"{found.photo.name}.png"
    write_overlay(out, found)
    findings = found.findings()
    if as_json:
        print_json({**findings.as_json(), "overlay": str(out)})
        return
    if shows:
        show_picture(out)
    print_findings(findings)
    conclude(f"photo, maps and seed: {out}")
