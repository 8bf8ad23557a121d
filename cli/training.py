"""What the commands that train a network share: their options, and what they print in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lpcam.errors import LpcamError

from .completing import ARCHITECTURES, one_of
from .options import (
    FILE,
    data_options,
    device_option,
    options_under,
    output_options,
    overwrite_option,
    seed_option,
    stacked,
    take,
    take_data_source,
)
from .rendering import conclude
from .tables import percent, print_table
from .verbosity import is_quiet

if TYPE_CHECKING:
    from lpcam.training import TrainingReport

OF_THE_RECIPE = ("epochs", "batch_size", "lr", "head_lr_factor", "momentum", "weight_decay", "crop")

_option = options_under("Training")
photo_options = stacked(
    data_options(required=False),
    _option("--val-split", help="List of photos whose mAP, and seed mIoU by their masks, is measured. [none]"),
    _option("--arch", shell_complete=one_of(ARCHITECTURES), help="Any architecture that extract-features takes."),
    _option("--weights", help="To start from: imagenet, a checkpoint, or none. [default: imagenet]"),
    _option("--stride", type=int, help="Output stride in training. [default: that of extract-features]"),
)
recipe_options = stacked(
    _option("--epochs", type=int, help="Passes over the photos. [default: 5]"),
    _option("--batch-size", type=int, help="Photos a step, of all processes under torchrun. [default: 16]"),
    _option("--lr", type=float, help="Learning rate of the first step. [default: .1]"),
    _option("--head-lr-factor", type=float, help="How much larger it is for what is new. [default: 10]"),
    _option("--momentum", type=float, help="Of SGD. [default: 0]"),
    _option("--weight-decay", type=float, help="Of all parameters. [default: 1e-4]"),
    _option("--crop", type=int, help="Side of the crop, px; photos are .625 to 1.25 times as long. [default: 512]"),
)
running_options = stacked(
    _option("--workers", type=int, help="Threads that read photos ahead. [default: 2]"),
    device_option,
    seed_option,
    overwrite_option,
    output_options,
)
whole_options = stacked(
    photo_options,
    _option("--out", type=FILE, required=True, help="Checkpoint to write, .pth."),
    recipe_options,
    running_options,
)


def is_first_process() -> bool:
    """Return whether this process speaks: of those that torchrun started, the first."""
    from lpcam.training.processes import share_of_torchrun

    return share_of_torchrun().index == 0


def take_training(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of a training and return them as the library's functions take them.

    Raises:
        LpcamError: there are no photos or no network.
    """
    from lpcam.training import Recipe

    data, arch, weights = take_data_source(options), options.pop("arch"), take(options, "weights")
    if data is None or arch is None:
        raise LpcamError("training needs photos and a network: give --dataset, --root and --arch")
    if weights.get("weights") == "none":
        weights = {"weights": None}
    recipe = Recipe(**take(options, *OF_THE_RECIPE))
    given = take(options, "stride", "val_split", "seed", "device", "workers", "overwrite")
    return {"data": data, "arch": arch, "out": options.pop("out"), "recipe": recipe, **weights, **given}


def print_training(report: TrainingReport, photos: str = "") -> None:
    """Print a row an epoch, and how to go on.

    Args:
        report: Of the training.
        photos: The data options it was given, as a command line has them.
    """
    parts = report.losses if len(report.losses) > 1 else {}
    columns = (report.loss, *parts.values())
    rows = [
        (str(epoch), *(f"{loss:.4f}" for loss in losses), *map(percent, scores))
        for epoch, (losses, scores) in enumerate(
            zip(zip(*columns, strict=True), zip(report.map, report.miou, strict=True), strict=True), 1
        )
    ]
    if not is_quiet():
        print_table(("epoch", "loss", *parts, "mAP %", "seed mIoU %"), rows)
        click.echo(f"log and plot: {report.out}.log.jsonl, {report.out}.png")
    went_on = f", from step {report.first_step} on" if report.first_step else ""
    conclude(
        f"classifier of {len(report.classes)} classes from {report.images} crops in {report.seconds:.1f} s{went_on}: "
        f"{report.out}",
        doubts=report.notices,
        steps=[f"lpcam extract-features{photos} --arch {report.arch} --weights {report.out}"],
    )
