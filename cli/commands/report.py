"""``lpcam report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lpcam.errors import LpcamError
from lpcam.workspace import Workspace

from ..helping import Command
from ..options import (
    data_options,
    idle_device_option,
    idle_seed_option,
    output_options,
    refiner_option,
    take,
    take_data_source,
    workspace_option,
)
from ..progress import shown_progress
from ..rendering import print_json, print_report


@click.command("report", cls=Command, first=("workspace", "seeds", "out"))
@workspace_option
@click.option("--seeds", multiple=True, metavar="TITLE=FOLDER", help="Another folder of seeds; may be given again.")
@refiner_option
@data_options(required=False)
@click.option("--photos", type=int, help="Photos in the gallery, at most. [default: 500]")
@click.option("--megabytes", type=float, help="Size of the page, at most: pictures shrink to it. [default: 10]")
@click.option("--title", help="Of the page.")
@click.option("--out", type=click.Path(path_type=Path), help="The page. [default: report/index.html in the workspace]")
@idle_device_option
@idle_seed_option
@output_options
def command(workspace: Workspace, as_json: bool, seeds: tuple[str, ...], **options: Any) -> None:
    """Write one HTML page about a run: scores, gallery, prototypes.

    The page holds everything it shows, opens from disk and loads nothing: summary and threshold curves of every method
    in the workspace, photos with truth, maps and seeds under linked sliders, and what every prototype sees.

    \b
    Example:
      lpcam report -w lpcam_work
      lpcam report --seeds "LPCAM, PAMR=lpcam_work/seeds-on-edges" --photos 200
    """
    from lpcam.report.whole import write_report

    named = take(options, "refiner", "split", "photos", "megabytes", "title", "out")
    others = dict(_titled(text) for text in seeds)
    with shown_progress(quiet=as_json) as progress:
        result = write_report(workspace, seeds=others, data=take_data_source(options), progress=progress, **named)
    if as_json:
        print_json(result.as_json())
    else:
        print_report(result)


def _titled(text: str) -> tuple[str, Path]:
    title, equals, folder = text.partition("=")
    if not (title and equals and folder):
        raise LpcamError(f"--seeds {text} has no title: write --seeds 'TITLE=FOLDER'")
    return title, Path(folder)
