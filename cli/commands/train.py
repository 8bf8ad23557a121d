"""``lpcam train sipe`` and ``lpcam train cpal``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..helping import Command
from ..options import awareness_options, given, spell_data_source, take, take_awareness
from ..progress import shown_progress
from ..rendering import print_json
from ..training import is_first_process, print_training, take_training, whole_options


@click.group("train")
def command() -> None:
    """Train SIPE or CPAL as published, on any architecture.

    The checkpoint is a classifier for every command: lpcam run --weights sipe.pth --method lpcam,iscam. Under torchrun
    several processes share every batch.

    \b
    Examples:
      lpcam train sipe --dataset voc --root VOC2012 --arch resnet50 --out sipe.pth
      lpcam train cpal --dataset voc --root VOC2012 --arch resnet50 --out cpal.pth
    """


@command.command(
    "sipe",
    cls=Command,
    first=("dataset", "root", "arch", "out"),
    short_help="Agree with image-specific prototypes (CVPR 2022).",
)
@whole_options
def sipe(as_json: bool, **options: Any) -> None:
    """Train a classifier whose CAMs agree with its image-specific prototypes (SIPE, CVPR 2022).

    Side convolutions of all levels are trained with it, for IS-CAM. Class weights of --weights that are for the same
    number of classes are kept. The same command goes on with a training that was interrupted.

    \b
    Example:
      lpcam train sipe --dataset voc --root VOC2012 --arch resnet50 --val-split val --out sipe.pth
    """
    from lpcam.training import train_sipe

    _run(train_sipe, as_json, options)


@command.command(
    "cpal",
    cls=Command,
    first=("dataset", "root", "arch", "out"),
    short_help="Agree with context prototypes of all images (CVPR 2024).",
)
@whole_options
@awareness_options()
@click.option("--tau", type=float, help="CAM threshold of an instance prototype. [default: .3]")
@click.option("--bank-size", type=int, help="Instance prototypes of a class that are kept. [default: 1000]")
@click.option("--k", type=int, help="Context prototypes of a class, at most. [default: 50]")
@click.option("--warm-up", type=int, help="Epochs of classification alone. [default: 1]")
def cpal(as_json: bool, **options: Any) -> None:
    """Train a classifier whose CAMs agree with context prototypes of all images (CPAL, CVPR 2024).

    The paper's code was not published; the page on training says what is chosen here. Class weights of --weights that
    are for the same number of classes are kept. The same command goes on with a training that was interrupted.

    \b
    Example:
      lpcam train cpal --dataset voc --root VOC2012 --arch resnet50 --val-split val --out cpal.pth
    """
    from lpcam.training import train_cpal

    options["cpal"] = _take_cpal(options)
    _run(train_cpal, as_json, options)


def _run(train: Callable[..., Any], as_json: bool, options: dict[str, Any]) -> None:
    own, photos = take(options, "cpal"), spell_data_source(options)
    arguments, speaks = take_training(options), is_first_process()
    with shown_progress(quiet=as_json or not speaks) as progress:
        report = train(**arguments, **own, progress=progress)
    if as_json and speaks:
        print_json(report.as_json())
    elif speaks:
        print_training(report, photos)


def _take_cpal(options: dict[str, Any]) -> Any:
    """Remove the options of CPAL and return its recipe."""
    from lpcam.support import SupportProfile
    from lpcam.training import CpalRecipe

    support = SupportProfile(**given(bank=options.pop("bank_size")), **take(options, "k", "tau"))
    return CpalRecipe(take_awareness(options), support, **take(options, "warm_up"))
