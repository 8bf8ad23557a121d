"""What PSA and the repositories that grew out of it have in common: the arguments of ``infer_cls.py``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lpcam.crf import PSA, CrfSettings, require_crf
from lpcam.dropin.arguments import Argument, Bag, existing
from lpcam.dropin.seeding import Order, list_of, workspace_of
from lpcam.errors import LpcamError
from lpcam.refiners.crf_part import CrfScores
from lpcam.refiners.label_parts import PlainLabels
from lpcam.refiners.next_step import LPCAM_MAPS
from lpcam.refiners.parts import Part, PartOptions

ARGUMENTS = (
    Argument("weights", "checkpoint of the classifier", needed=True),
    Argument("voc12_root", "folder with JPEGImages", needed=True),
    Argument("num_workers", "threads that read photos ahead", default=1),
    Argument("out_cam", "folder of the seeds"),
)
INFER_LIST = Argument(
    "infer_list", "list of the photos: names, int-coded names, or lines of photo and mask", needed=True
)
OUT_CAM_PRED = Argument("out_cam_pred", "folder of label PNGs")
UNNEEDED = ("network",)
SEED_BACKGROUND = LPCAM_MAPS.seed or 0.0


@dataclass(frozen=True)
class Extra:
    """A folder beside the seeds that a repository's argument names.

    Attributes:
        argument: Its name.
        make: Makes the part from the folder.
        suffix: The script appends to the folder's name.
    """

    argument: str
    make: Callable[[str], Part]
    suffix: str = ""


def order(bag: Bag, refiner: str, *extras: Extra) -> Order:
    """Return what a bag of the family asks for.

    Args:
        bag: The arguments.
        refiner: Family of the seeds.
        *extras: What can be made beside them; those whose argument is given are.

    Raises:
        LpcamError: no folder was named, or something is missing.
    """
    asked = [extra for extra in extras if bag[extra.argument]]
    folders = [name for name in ("out_cam", *(extra.argument for extra in asked)) if bag[name]]
    if not folders:
        names = dict.fromkeys(["out_cam", *(extra.argument for extra in extras)])
        raise LpcamError(f"nothing to write: give --{' or --'.join(names)} a folder")
    workspace = workspace_of(bag.path(folders[0]))
    out = bag.optional_path("out_cam") or workspace / "seeds"
    return Order(
        weights=existing([bag.path("weights")], "weights"),
        root=bag.path("voc12_root"),
        photos=list_of(bag.path("infer_list"), "infer_list"),
        out=out,
        refiner=refiner,
        workers=bag.count("num_workers"),
        parts=PartOptions(chosen=tuple(extra.make(_from(out, bag, extra)) for extra in asked)),
        workspace=workspace,
    )


def scores(alpha: float, crf: CrfSettings = PSA) -> Callable[[str], Part]:
    """Return a maker of CRF dictionaries.

    Raises:
        LpcamError: when it is used and pydensecrf is missing.
    """

    def make(folder: str) -> Part:
        require_crf()
        return CrfScores(folder, alpha, crf)

    return make


def labels(background: float) -> Callable[[str], Part]:
    """Return a maker of label PNGs."""
    return lambda folder: PlainLabels(folder, background)


def _from(out: Path, bag: Bag, extra: Extra) -> str:
    """Return the folder of an extra as seen from that of the seeds."""
    path = bag.path(extra.argument)
    return os.path.relpath(path.with_name(path.name + extra.suffix).resolve(), out.resolve())
