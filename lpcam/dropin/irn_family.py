"""What IRN and the repositories that grew out of it have in common: their arguments and their order of work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lpcam.dropin.arguments import Argument, Bag, existing, with_suffix_added
from lpcam.dropin.seeding import Order, list_of
from lpcam.refiners.next_step import LPCAM_MAPS
from lpcam.views import PUBLISHED_SCALES

WITHOUT_OUTPUT = (
    Argument("voc12_root", "folder with JPEGImages", needed=True),
    Argument("train_list", "list of the photos: names, int-coded names, or lines of photo and mask", needed=True),
    Argument("cam_weights_name", "checkpoint of the classifier", needed=True),
    Argument("cam_scales", "scales of the views", default=PUBLISHED_SCALES, many=True),
    Argument("num_workers", "threads that read photos ahead", default=1),
)
ARGUMENTS = (*WITHOUT_OUTPUT, Argument("cam_out_dir", "folder of the seeds", needed=True))
WORK_SPACE = Argument("work_space", "stands before the paths of checkpoint and seeds", default="")
UNNEEDED = ("cam_network",)
THRESHOLDS = (
    f"--cam_eval_thres {LPCAM_MAPS.seed:.2f} --conf_fg_thres {LPCAM_MAPS.conf_fg:.2f} "
    f"--conf_bg_thres {LPCAM_MAPS.conf_bg:.2f} --sem_seg_bg_thres {LPCAM_MAPS.walk:.2f}"
)


def order(bag: Bag, weights: Path, out: Path, refiner: str) -> Order:
    """Return what a bag of the family asks for."""
    return Order(
        weights=weights,
        root=bag.path("voc12_root"),
        photos=list_of(bag.path("train_list"), "train_list"),
        out=out,
        refiner=refiner,
        scales=bag.numbers("cam_scales"),
        workers=bag.count("num_workers"),
    )


def weights_with_suffix(bag: Bag, name: str = "cam_weights_name") -> Path:
    """Return the checkpoint of a repository that appends ``.pth`` to its name; the name alone will do."""
    path = bag.path(name)
    return existing((with_suffix_added(path), path), name)


def weights_in_work_space(bag: Bag, name: str = "cam_weights_name") -> Path:
    """Return the checkpoint of a repository that appends nothing, under its work space or where the name says."""
    candidates = [bag.within("work_space", name), bag.path(name)]
    return existing([*unique(candidates), *unique(map(with_suffix_added, candidates))], name)


def unique(paths: Sequence[Path] | map[Path]) -> list[Path]:
    """Return the paths without repetition, in order."""
    return list(dict.fromkeys(paths))
