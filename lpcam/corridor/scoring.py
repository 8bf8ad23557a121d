"""Stage 4 in a workspace: ``lpcam evaluate``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpcam.checksums import read_sums, require_sound
from lpcam.corridor.basis import photos_of_basis
from lpcam.corridor.methods import DEFAULT_METHOD, METHODS
from lpcam.datasets import read_mask
from lpcam.errors import LpcamError, unknown
from lpcam.evaluation import Curve, SeedScores, compute, parse_thresholds
from lpcam.files import write_json
from lpcam.records import DataSplit, Photo, Progress, silent
from lpcam.refiners import DEFAULT_REFINER, Refiner, get_reader
from lpcam.sources import DataSource
from lpcam.workspace import Workspace, seeds_made_by

DEFAULT_THRESHOLDS = "0:1:.01"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationReport:
    """How good the seeds of a method are.

    Attributes:
        method: Name of the method.
        split: The split whose masks were used.
        names: Class names, background first.
        curve: Scores at every threshold.
        mean_over: Names of the classes the means are taken over; all when empty.
        notices: What makes the numbers doubtful, one line each.
        made_by: What the seeds' folder says made them, class names aside; empty where it says nothing.
    """

    method: str
    split: str
    names: tuple[str, ...]
    curve: Curve
    mean_over: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    made_by: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints: fractions 0..1 at the threshold of the best mIoU, and the curve."""
        best = self.curve.best
        return {
            "method": self.method,
            "split": self.split,
            "miou": best.miou,
            "threshold": best.threshold,
            "precision": best.precision,
            "recall": best.recall,
            "per_class": dict(zip(self.names, best.per_class, strict=True)),
            "images": self.curve.images,
            "mean_over": list(self.mean_over or self.names),
            "curve": [
                {name: getattr(score, name) for name in ("threshold", "miou", "precision", "recall")}
                for score in self.curve.scores
            ],
            "notices": list(self.notices),
            "made_by": self.made_by,
        }


def evaluate(
    workspace: Workspace,
    *,
    method: str = DEFAULT_METHOD,
    refiner: str = DEFAULT_REFINER,
    seeds: Path | None = None,
    data: DataSource | None = None,
    split: str | None = None,
    thresholds: str = DEFAULT_THRESHOLDS,
    mean_over: Sequence[str] = (),
    progress: Progress = silent,
) -> EvaluationReport:
    """Score the seeds of a method against true masks, at every threshold, and keep the scores in the workspace.

    Args:
        workspace: Of the run.
        method: Whose seeds.
        refiner: Family whose format they have.
        seeds: Their folder, where it is not the workspace's.
        data: Photos with masks, where they are not those of the features.
        split: Another split of the same data set.
        thresholds: ``start:stop:step`` or a list.
        mean_over: Class names (``background`` is one) the means are taken over; all when empty.
        progress: Told as the work goes on.

    Raises:
        LpcamError: there are no seeds or no masks, or they do not fit each other.
    """
    reader = get_reader(refiner)
    folder = seeds or workspace.seeds(method, refiner)
    if not folder.is_dir():
        raise _no_seeds(workspace, folder, method, refiner)
    source = data or photos_of_basis(workspace)
    opened = source.with_split(split).open()
    names = ("background", *opened.classes)
    scored = _with_masks_and_seeds(opened, folder, reader)
    _LOG.info("%d of %d photos have seeds in %s and a mask", len(scored), len(opened.photos), folder)
    scores = SeedScores(len(opened.classes), parse_thresholds(thresholds))
    sums = read_sums(folder)
    for index, photo in enumerate(scored):
        require_sound(reader.path(folder, photo.name), folder, sums, "run 'lpcam generate' again to make it anew")
        scores.update(reader.read(folder, photo.name), read_mask(photo, len(opened.classes)), photo.name)
        progress("evaluate", index + 1, len(scored))
    curve = compute(scores, [_class_index(name, names) for name in mean_over] or None)
    made_by = {name: value for name, value in seeds_made_by(folder).items() if name != "classes"}
    notices = (*_missing_notices(opened, scored), *_stranger_notices(method, made_by))
    report = EvaluationReport(method, opened.split, names, curve, tuple(mean_over), notices, made_by)
    write_json(workspace.evaluation(method), report.as_json(), sealed=True)
    return report


def _no_seeds(workspace: Workspace, folder: Path, method: str, refiner: str) -> LpcamError:
    """Return what is to be said where a folder of seeds is missing: which there are, and what makes others."""
    if method not in METHODS:
        return unknown("method", method, METHODS)
    there = ", ".join(str(path.relative_to(workspace.root)) for path in sorted(workspace.root.glob("seeds/*/*")))
    command = f"lpcam generate -w {workspace.root} --method {method} --refiner {refiner}"
    others = f" (there are {there})" if there else ""
    return LpcamError(f"{folder} does not exist{others}: run '{command}' first, or name others")


def _with_masks_and_seeds(split: DataSplit, folder: Path, refiner: Refiner) -> list[Photo]:
    with_masks = [photo for photo in split.photos if photo.mask is not None]
    if not with_masks:
        raise LpcamError(f"no photo of the split '{split.split}' has a mask: give their folder by --masks")
    scored = [photo for photo in with_masks if refiner.path(folder, photo.name).is_file()]
    if not scored:
        raise LpcamError(
            f"{folder} holds no seed of the split '{split.split}': run 'lpcam generate' for it, or name its --split"
        )
    return scored


def _missing_notices(split: DataSplit, scored: list[Photo]) -> tuple[str, ...]:
    missing = len(split.photos) - len(scored)
    return (f"{missing} of {len(split.photos)} photos have no seed or no mask and are not counted",) if missing else ()


def _stranger_notices(method: str, made_by: dict[str, Any]) -> tuple[str, ...]:
    maker = made_by.get("method", method)
    return () if maker == method else (f"the seeds were made by {maker}, and are scored as {method}",)


def _class_index(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise unknown("class", name, names)
    return names.index(name)
