"""``lpcam export``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from lpcam.workspace import Workspace

from ..completing import FORMATS, one_of
from ..helping import Command
from ..options import idle_device_option, idle_seed_option, output_options, take, workspace_option
from ..rendering import conclude, print_json


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", value)
    if found is None:
        raise click.BadParameter(f"'{value}' is not a size such as 375x500 (height x width)", ctx, param)
    return int(found[1]), int(found[2])


@click.command("export", cls=Command, first=("workspace", "path", "format"))
@workspace_option
@click.option(
    "--format",
    shell_complete=one_of(FORMATS),
    help="onnx (needs lpcam[onnx]) or pt2, for torch.export.load. [default: onnx]",
)
@click.option("--out", "path", type=click.Path(path_type=Path), required=True, help="The file.")
@click.option("--size", metavar="HxW", callback=_size, help="Of the images. [default: 224x224]")
@click.option("--dynamic", is_flag=True, default=None, help="Leave the number of images and their size open.")
@click.option("--upsample", is_flag=True, default=None, help="Give maps of the images' size, not of the feature grid.")
@idle_device_option
@idle_seed_option
@output_options
def command(workspace: Workspace, path: Path, as_json: bool, **options: Any) -> None:
    """Write classifier and prototypes as one network: images in, LPCAM maps of all classes out.

    The input is a normalised batch [N, 3, H, W]; mean, std and class names are in the file's metadata.

    \b
    Example:
      lpcam export --format onnx --out lpcam.onnx --dynamic --upsample
      lpcam export --format pt2 --out lpcam.pt2 --size 375x500
    """
    from lpcam.export import export_workspace

    about = export_workspace(workspace, path, **take(options, "format", "size", "dynamic", "upsample"))
    if as_json:
        print_json({"file": str(path), **about})
    else:
        conclude(
            f"network of {len(about['classes'])} classes: {path}", steps=[_READERS[str(about["format"])].format(path)]
        )


_READERS = {
    "onnx": "python -c \"import onnxruntime; onnxruntime.InferenceSession('{}')\"   (or any other runtime of ONNX)",
    "pt2": "python -c \"import torch; torch.export.load('{}').module()\"",
}
