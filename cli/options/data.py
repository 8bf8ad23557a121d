"""Which photos, with which labels and masks."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote
from typing import Any

from lpcam.errors import LpcamError

from ..completing import DATASETS, one_of
from .declaring import FILE, Command, options_under, stacked
from .taking import take

_option = options_under("Photos and labels")


def data_options(*, required: bool) -> Callable[[Command], Command]:
    """Return the options that name a split of a data set."""
    return stacked(
        _option(
            "--dataset",
            required=required,
            shell_complete=one_of(DATASETS),
            help="voc, coco, folder or demo; see docs/datasets.md.",
        ),
        _option(
            "--root",
            type=FILE,
            required=required,
            help="Folder of the data set: JPEGImages, annotations or photos are in it.",
        ),
        _option("--split", help="Name of a list (train, val2014, all) or its path. [default: train]"),
        _option("--labels", type=FILE, help="Image-level labels: CSV (name,classes) or cls_labels.npy."),
        _option("--classes", type=FILE, help="File of class names, a name a line."),
        _option("--masks", type=FILE, help="Folder of true masks, <name>.png."),
    )


def spell_data_source(options: dict[str, Any]) -> str:
    """Return the data options that were given as a command line has them, each after a blank; none are removed."""
    names = ("dataset", "root", "split", "labels", "classes", "masks")
    values = {name: options[name] for name in names if options.get(name) is not None}
    return "".join(f" --{name} {quote(str(value))}" for name, value in values.items())


def take_data_source(options: dict[str, Any]) -> Any:
    """Remove the data options; return their DataSource, or None where no data set was named.

    Raises:
        LpcamError: only one of --dataset and --root was given.
    """
    from lpcam.sources import DataSource

    named = take(options, "dataset", "root", "labels", "classes", "masks")
    if not named:
        return None
    if "dataset" not in named or "root" not in named:
        raise LpcamError("other photos need both --dataset and --root: give both or neither")
    return DataSource(**named, **take(options, "split"))
