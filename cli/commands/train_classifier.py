"""``lpcam train-classifier``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpcam.errors import LpcamError
from lpcam.workspace import Workspace

from ..helping import Command
from ..options import spell_data_source, take, take_data_source
from ..progress import shown_progress
from ..rendering import conclude, print_json
from ..tables import print_table
from ..training import (
    OF_THE_RECIPE,
    is_first_process,
    photo_options,
    print_training,
    recipe_options,
    running_options,
    take_training,
)
from ..verbosity import is_quiet

if TYPE_CHECKING:
    from lpcam.training import HeadReport

_FILE = click.Path(path_type=Path)


@click.command("train-classifier", cls=Command, first=("dataset", "root", "arch", "out"))
@photo_options
@click.option("--out", type=_FILE, required=True, help="Checkpoint to write, .pth; a head alone: .safetensors or .npy.")
@click.option("--keep-head", is_flag=True, default=None, help="Go on from the class weights of --weights, if they fit.")
@recipe_options
@click.option("--freeze-backbone", is_flag=True, help="Fit the class weights only, to averaged features.")
@click.option("-w", "--workspace", type=_FILE, help="With --freeze-backbone: features of this run, instead of photos.")
@click.option("--l2", type=float, help="With --freeze-backbone: how much to regularise. [chosen by cross-validation]")
@running_options
def command(as_json: bool, freeze_backbone: bool, **options: Any) -> None:
    """Train a classifier on image-level labels, for those who have none.

    Multi-label soft margin, SGD with a polynomial rate, crops of 512 px, five epochs, as IRN trains it. The same
    command goes on with a training that was interrupted. --freeze-backbone fits the class weights only.

    \b
    Examples:
      lpcam train-classifier --dataset voc --root VOC2012 --arch resnet50 --out res50.pth
      lpcam train-classifier --dataset voc --root VOC2012 --arch torchvision/resnet50 --freeze-backbone --out head.npy
    """
    train = _train_head if freeze_backbone else _train_network
    speaks, photos = freeze_backbone or is_first_process(), spell_data_source(options)
    network = _spelled_network(options)
    with shown_progress(quiet=as_json or not speaks) as progress:
        report = train(options, progress)
    if as_json and speaks:
        print_json(report.as_json())
    elif speaks:
        if freeze_backbone:
            _print_head(report, photos + network)
        else:
            print_training(report, photos)


def _train_network(options: dict[str, Any], progress: Any) -> Any:
    from lpcam.training import train_classifier

    _refuse(options, "needs --freeze-backbone: add it, or leave the option out", "workspace", "l2")
    return train_classifier(**take_training(options), **take(options, "keep_head"), progress=progress)


def _train_head(options: dict[str, Any], progress: Any) -> Any:
    from lpcam.training import HeadRecipe, train_head

    _refuse(options, "does nothing with --freeze-backbone: leave it out", *OF_THE_RECIPE, "keep_head")
    data, workspace = take_data_source(options), options.pop("workspace")
    if (data is None) == (workspace is None):
        raise LpcamError("--freeze-backbone needs features: give either --dataset and --root, or a --workspace")
    if workspace is not None:
        _refuse(
            options, "does nothing with --workspace: leave it out", "split", "val_split", "arch", "weights", "stride"
        )
    if options.get("weights") == "none":
        raise LpcamError("a frozen backbone without weights knows nothing: give --weights imagenet or a checkpoint")
    return train_head(
        data or Workspace(workspace),
        options.pop("out"),
        recipe=HeadRecipe(**take(options, "l2")),
        progress=progress,
        **take(options, "arch", "weights", "stride", "val_split", "seed", "device", "workers", "overwrite"),
    )


def _refuse(options: dict[str, Any], why: str, *names: str) -> None:
    """Raise where an option was given that has no meaning here, and forget the others."""
    for name in names:
        if options.pop(name, None) is not None:
            raise LpcamError(f"--{name.replace('_', '-')} {why}")


def _spelled_network(options: dict[str, Any]) -> str:
    """Return the network that was given as a command line has it; without one it is that of the workspace."""
    arch = options["arch"]
    return f" --arch {arch} --weights {options['weights'] or 'imagenet'}" if arch else " … (as for the workspace)"


def _print_head(report: HeadReport, source: str) -> None:
    if report.cross_validated and not is_quiet():
        print_table(("l2", "mAP %"), [(f"{l2:g}", f"{100 * score:.1f}") for l2, score in report.cross_validated])
    score = "" if report.map is None else f", mAP {100 * report.map:.1f} %"
    step = f"lpcam extract-features{source} --head {report.out}"
    if report.out.suffix in (".pth", ".pt"):  # the whole classifier
        step = f"lpcam extract-features{source.partition(' --weights')[0]} --weights {report.out}"
    conclude(
        f"class weights of {len(report.classes)} classes from {report.images} photos in {report.seconds:.1f} s "
        f"(l2 {report.l2:g}{score}): {report.out}",
        doubts=report.notices,
        steps=[step],
    )
