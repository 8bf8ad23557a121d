"""The ``lpcam`` command."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from .colours import wants_colour
from .exits import ErrorLine
from .verbosity import own_logging, verbosity_options

_COMMANDS = {  # name: what --help says of it; the module is imported when the command is used
    "extract-features": "Write the features of a data set under a pretrained classifier.",
    "cluster": "Build class prototypes and context prototypes from the features.",
    "generate": "Write the seeds of every photo in a refiner's format.",
    "evaluate": "Score seeds against true masks.",
    "report": "Write one HTML page about a run: scores, gallery, prototypes.",
    "convert": "Turn seeds of one refiner family into another's.",
    "inspect": "Say what a file or folder holds, or what a method sees in a photo.",
    "verify": "Check every file of a workspace, and say how to repair it.",
    "doctor": "Say what may go wrong: packages, machine, disk, size of the planned run.",
    "run": "All stages in order, from photos to scores, resumable.",
    "import-prototypes": "Take over the prototypes of the published code.",
    "import-features": "Take over a feature dump of the published code.",
    "train-classifier": "Train a classifier on image-level labels, or class weights over a frozen one.",
    "train": "Train SIPE or CPAL as published; any method runs on what comes out.",
    "export": "Write classifier and prototypes as one ONNX or torch.export network.",
    "completion": "Print what lets a shell complete commands, options and values.",
    "demo": "Train, localise and compare on a built-in data set, in about two minutes.",
}


class _Commands(click.Group):
    """A group whose commands are imported when they are used, so that ``lpcam --help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".commands.{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from lpcam.errors import unknown

            raise click.UsageError(str(unknown("command", args[0], _COMMANDS)), ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def main(self, *arguments: Any, **settings: Any) -> Any:
        with own_logging():
            return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> object:
        with ErrorLine():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="lpcam", prog_name="lpcam")
@verbosity_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """Better seed masks from image-level labels, without training.

    LPCAM (CVPR 2023) clusters the local features of a pretrained classifier into class prototypes and context
    prototypes and compares every position of a photo with them. Three commands make IRN seeds of a VOC folder:

    \b
      lpcam extract-features --dataset voc --root VOC2012 --split train --arch resnet50 --weights res50_cam.pth
      lpcam cluster
      lpcam generate --refiner irn
    """
    ctx.color = wants_colour(os.environ)
