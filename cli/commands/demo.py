"""``lpcam demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..helping import Command
from ..options import device_option, folder, output_options, seed_option, take
from ..progress import shown_progress
from ..rendering import conclude, print_json
from ..tables import print_table
from ..verbosity import is_quiet

DEFAULT_OUT = Path("lpcam_demo")


@click.command("demo", cls=Command, first=("out",))
@click.option(
    "-w",
    "--workspace",
    "out",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    callback=folder,
    help="Folder of the demo: data, classifier, run and page.",
)
@click.option("--data-only", is_flag=True, help="Paint the photos and train the classifier; leave the stages to you.")
@device_option
@seed_option
@output_options
def command(out: Path, data_only: bool, as_json: bool, **options: Any) -> None:
    """Train, localise and compare on a built-in data set, in about two minutes.

    Scenes are painted with exact masks, a small classifier is trained on image-level labels alone, and the real stages
    run on it. It ends with a table, CAM beside LPCAM, and a page of pictures.

    \b
    Example:
      lpcam demo
      lpcam demo --data-only -w first
    """
    if data_only:
        _prepare(out, as_json, options)
        return
    from lpcam.demo import run_demo

    with shown_progress(quiet=as_json) as progress:
        result = run_demo(out, progress=progress, **take(options, "device", "seed"))
    if as_json:
        print_json(result.as_json())
        return
    if not is_quiet():
        print_table(result.columns, result.cells)
        click.echo("seed masks of painted photos, in %")
        click.echo(f"one picture: {result.overview}")
    conclude(
        f"demo in {sum(result.seconds.values()):.0f} s, open this page: {result.page}",
        steps=[f"lpcam inspect {result.workspace}", f"lpcam report -w {result.workspace}"],
    )


def _prepare(out: Path, as_json: bool, options: dict[str, Any]) -> None:
    from lpcam.demo import prepare_demo

    with shown_progress(quiet=as_json) as progress:
        prepared = prepare_demo(out, progress=progress, **take(options, "device", "seed"))
    if as_json:
        print_json(prepared.as_json())
        return
    named = f"--dataset demo --root {prepared.data} --arch demo --weights {prepared.weights}"
    conclude(
        f"photos {prepared.data} and classifier {prepared.weights} in {sum(prepared.seconds.values()):.0f} s",
        steps=[f"lpcam extract-features {named} -w {out / 'run'}"],
    )
