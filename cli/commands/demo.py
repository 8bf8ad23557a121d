"""``lpcam demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..options import device_option, json_option, seed_option, take
from ..progress import shown_progress
from ..rendering import print_json, print_table

DEFAULT_OUT = Path("lpcam_demo")


@click.command("demo")
@click.option(
    "-w",
    "--workspace",
    "out",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder of the demo: data, classifier, run and page.",
)
@click.option("--data-only", is_flag=True, help="Paint the photos and train the classifier; leave the stages to you.")
@device_option
@seed_option
@json_option
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
    print_table(result.columns, result.cells)
    click.echo(f"seed masks of painted photos, in %; done in {sum(result.seconds.values()):.0f} s")
    click.echo(f"the page: {result.page}")
    click.echo(f"one picture: {result.overview}")
    click.echo(f"the run: {result.workspace}   (try: lpcam evaluate -w {result.workspace})")


def _prepare(out: Path, as_json: bool, options: dict[str, Any]) -> None:
    from lpcam.demo import prepare_demo

    with shown_progress(quiet=as_json) as progress:
        prepared = prepare_demo(out, progress=progress, **take(options, "device", "seed"))
    if as_json:
        print_json(prepared.as_json())
        return
    named = f"--dataset demo --root {prepared.data} --arch demo --weights {prepared.weights}"
    click.echo(f"photos: {prepared.data}, classifier: {prepared.weights}, in {sum(prepared.seconds.values()):.0f} s")
    click.echo(f"next: lpcam extract-features {named} -w {out / 'run'}")
