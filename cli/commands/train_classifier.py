"""``lpcam train-classifier``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpcam.errors import LpcamError
from lpcam.workspace import Workspace

from ..options import data_options, device_option, json_option, overwrite_option, seed_option, take, take_data_source
from ..progress import shown_progress
from ..rendering import print_json, print_notices, print_table

if TYPE_CHECKING:
    from lpcam.training import HeadReport, TrainingReport

_FILE = click.Path(path_type=Path)
_OF_THE_NETWORK = ("epochs", "batch_size", "lr", "head_lr_factor", "momentum", "weight_decay", "crop")


@click.command("train-classifier")
@data_options(required=False)
@click.option("--val-split", help="List of photos whose mAP is measured. [default: none]")
@click.option("--arch", help="Any architecture that extract-features takes.")
@click.option("--weights", help="To start from: imagenet, a checkpoint, or none. [default: imagenet]")
@click.option("--stride", type=int, help="Output stride in training. [default: that of extract-features]")
@click.option("--out", type=_FILE, required=True, help="Checkpoint to write, .pth; a head alone: .safetensors or .npy.")
@click.option("--epochs", type=int, help="Passes over the photos. [default: 5]")
@click.option("--batch-size", type=int, help="Photos a step. [default: 16]")
@click.option("--lr", type=float, help="Learning rate of the first step. [default: .1]")
@click.option("--head-lr-factor", type=float, help="How much larger it is for the head. [default: 10]")
@click.option("--momentum", type=float, help="Of SGD. [default: 0]")
@click.option("--weight-decay", type=float, help="Of all parameters. [default: 1e-4]")
@click.option("--crop", type=int, help="Side of the crop, px; photos are .625 to 1.25 times as long. [default: 512]")
@click.option("--freeze-backbone", is_flag=True, help="Fit the class weights only, to averaged features.")
@click.option("-w", "--workspace", type=_FILE, help="With --freeze-backbone: features of this run, instead of photos.")
@click.option("--l2", type=float, help="With --freeze-backbone: how much to regularise. [chosen by cross-validation]")
@click.option("--workers", type=int, help="Threads that read photos ahead. [default: 2]")
@device_option
@seed_option
@overwrite_option
@json_option
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
    with shown_progress(quiet=as_json) as progress:
        report = train(options, progress)
    if as_json:
        print_json(report.as_json())
    else:
        (_print_head if freeze_backbone else _print_network)(report)
        print_notices(report.notices)


def _train_network(options: dict[str, Any], progress: Any) -> Any:
    from lpcam.training import Recipe, train_classifier

    _refuse(options, "needs --freeze-backbone: add it, or leave the option out", "workspace", "l2")
    data, arch, weights = take_data_source(options), options.pop("arch"), take(options, "weights")
    if data is None or arch is None:
        raise LpcamError("training needs photos and a network: give --dataset, --root and --arch")
    if weights.get("weights") == "none":
        weights = {"weights": None}
    return train_classifier(
        data,
        arch,
        options.pop("out"),
        recipe=Recipe(**take(options, *_OF_THE_NETWORK)),
        progress=progress,
        **weights,
        **take(options, "stride", "val_split", "seed", "device", "workers", "overwrite"),
    )


def _train_head(options: dict[str, Any], progress: Any) -> Any:
    from lpcam.training import HeadRecipe, train_head

    _refuse(options, "does nothing with --freeze-backbone: leave it out", *_OF_THE_NETWORK)
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


def _print_network(report: TrainingReport) -> None:
    rows = [
        (str(epoch), f"{loss:.4f}", "–" if score is None else f"{100 * score:.1f}")
        for epoch, (loss, score) in enumerate(zip(report.loss, report.map, strict=True), 1)
    ]
    print_table(("epoch", "loss", "mAP %"), rows)
    went_on = f", from step {report.first_step} on" if report.first_step else ""
    click.echo(f"{report.images} crops in {report.seconds:.1f} s{went_on}: {report.out}")
    click.echo(f"next: lpcam extract-features --arch {report.arch} --weights {report.out} …")


def _print_head(report: HeadReport) -> None:
    if report.cross_validated:
        print_table(("l2", "mAP %"), [(f"{l2:g}", f"{100 * score:.1f}") for l2, score in report.cross_validated])
    score = "" if report.map is None else f", mAP {100 * report.map:.1f} %"
    click.echo(
        f"class weights of {len(report.classes)} classes from {report.images} photos in {report.seconds:.1f} s "
        f"(l2 {report.l2:g}{score}): {report.out}"
    )
    flag = "--weights" if report.out.suffix in (".pth", ".pt") else "--head"
    click.echo(f"next: lpcam extract-features {flag} {report.out} …")
