"""``lpcam verify``."""

from __future__ import annotations

import click

from lpcam.workspace import Workspace

from ..helping import Command
from ..options import idle_device_option, idle_seed_option, output_options, workspace_option
from ..progress import shown_progress
from ..rendering import print_json, print_verdict


@click.command("verify", cls=Command, first=("workspace",))
@workspace_option
@idle_device_option
@idle_seed_option
@output_options
def command(workspace: Workspace, as_json: bool) -> None:
    """Check every file of a workspace, and say how to repair it.

    Checksums, shapes, ranges, NaN, files that are missing and files that are too much: shards of features, prototypes,
    seeds and their parts, scores. Nothing is changed. The exit code is 1 where something is wrong.

    \b
    Example:
      lpcam verify
      lpcam verify -w lpcam_work --json
    """
    from lpcam.verification import verify

    with shown_progress(quiet=as_json) as progress:
        verdict = verify(workspace, progress=progress)
    if as_json:
        print_json(verdict.as_json())
    else:
        print_verdict(verdict)
    if not verdict.is_sound:
        raise click.exceptions.Exit(1)
