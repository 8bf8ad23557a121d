"""The files of a training: claimed, gone on with, finished, reported."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.backbones import Trunk
from lpcam.backbones.checkpoints import fingerprint
from lpcam.errors import LpcamError
from lpcam.files import read_json, sweep, write_json
from lpcam.records import DataSplit
from lpcam.training.checkpoint import Progressed, save_classifier
from lpcam.training.log import TrainingLog, plot
from lpcam.training.recipe import Recipe
from lpcam.training.targets import absent_classes, label_matrix, require_labels

_REPAIR = "add --overwrite to train from the start"


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        out: The classifier.
        arch: Its architecture.
        classes: Class names by index.
        loss: Mean loss of every epoch, of runs before this one too.
        map: Validation mAP after every epoch, in 0..1; None where it was not measured.
        steps: Steps of the whole training.
        first_step: Step that this call began with; above 0 where it went on.
        images: Photos seen by this call, a photo once an epoch.
        seconds: Wall time of this call.
        notices: What a user should know, one line each.
        miou: mIoU of the validation photos' seeds after every epoch, at its best threshold, in 0..1; None where it was
            not measured.
        losses: By name the parts that ``loss`` is the sum of.
    """

    out: Path
    arch: str
    classes: tuple[str, ...]
    loss: tuple[float, ...]
    map: tuple[float | None, ...]
    steps: int
    first_step: int
    images: int
    seconds: float
    notices: tuple[str, ...] = ()
    miou: tuple[float | None, ...] = ()
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints; ``map`` and ``miou`` are the last, ``…_per_epoch`` all of them."""
        speed = self.images / self.seconds if self.images else 0.0
        value = {**asdict(self), "out": str(self.out), "images_per_second": speed}
        for name, scores in (("map", self.map), ("miou", self.miou)):
            value |= {name: scores[-1], f"{name}_per_epoch": list(scores)}
        return value


@dataclass(frozen=True)
class History:
    """How a training went so far.

    Attributes:
        losses: float64 [step, L].
        scores: float64 [epochs done, 2], validation mAP and mIoU; NaN where there was none.
    """

    losses: Tensor
    scores: Tensor

    @classmethod
    def empty(cls, losses: int) -> History:
        """Return that of a training that has not begun, of so many losses."""
        return cls(torch.zeros(0, losses, dtype=torch.float64), torch.zeros(0, 2, dtype=torch.float64))

    def with_step(self, losses: Tensor) -> History:
        """Return the history with another step's losses [L]."""
        return History(torch.cat([self.losses, losses.double().cpu()[None]]), self.scores)

    def with_epoch(self, *scores: float) -> History:
        """Return the history with another epoch's mAP and mIoU."""
        return History(self.losses, torch.cat([self.scores, torch.tensor([scores], dtype=torch.float64)]))


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and the files of it.

    Attributes:
        split: Photos to learn from.
        val: Photos to measure.
        trunk: With its first weights.
        recipe: Hyper-parameters.
        seed: Of everything random.
        out: The classifier.
        system: What is trained, beside a classifier, with its options; empty for a classifier.
        fingerprint: Of all of these.
    """

    split: DataSplit
    val: DataSplit | None
    trunk: Trunk
    recipe: Recipe
    seed: int
    out: Path
    system: Mapping[str, Any]
    fingerprint: str

    @classmethod
    def of(
        cls,
        split: DataSplit,
        val: DataSplit | None,
        trunk: Trunk,
        recipe: Recipe,
        seed: int,
        out: Path,
        system: Mapping[str, Any] | None = None,
    ) -> Run:
        """Check what is trained and on what.

        Raises:
            LpcamError: there are no labels, fewer photos than a batch, or the splits have different classes.
        """
        require_labels(label_matrix(split), split.split)
        if len(split.photos) < recipe.batch_size:
            raise LpcamError(
                f"split {split.split} has {len(split.photos)} photos, fewer than a batch of {recipe.batch_size}: "
                "add photos or give a smaller --batch-size"
            )
        if val is not None and val.classes != split.classes:
            raise LpcamError(
                f"splits {split.split} and {val.split} have different classes: name them for both with --classes FILE"
            )
        first = fingerprint({name: tensor.float() for name, tensor in trunk.state_dict().items()})
        photos = [part.fingerprint if part else None for part in (split, val)]
        payload = [photos, trunk.arch, trunk.stride, first, asdict(recipe), seed, *([system] if system else [])]
        digest = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
        return cls(split, val, trunk, recipe, seed, out, system or {}, digest)

    @property
    def unfinished(self) -> Path:
        """The state of the training while it lasts."""
        return self._beside("unfinished")

    @property
    def description(self) -> Path:
        """How the classifier was made; written last."""
        return self._beside("json")

    @property
    def log(self) -> TrainingLog:
        """A line a step."""
        return TrainingLog(self._beside("log.jsonl"))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches."""
        return len(self.split.photos) // self.recipe.batch_size

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    def claim(self, overwrite: bool) -> None:
        """Remove what is there where that is wanted.

        Raises:
            LpcamError: it is of another run, and not wanted.
        """
        sweep(self.out.parent)
        if overwrite:
            for path in (self.out, *map(self._beside, ("unfinished", "json", "log.jsonl", "png"))):
                path.unlink(missing_ok=True)
        if self.is_finished() or (self.unfinished.exists() and self._is_mine()):
            return
        others = [path for path in (self.out, self.unfinished) if path.exists()]
        if others:
            raise LpcamError(
                f"{others[0]} belongs to a training with other photos, options or first weights: "
                "add --overwrite to replace it, or choose another --out"
            )

    def progressed(self) -> Progressed | None:
        """Return the state of an interrupted training, if there is one."""
        return Progressed.load(self.unfinished) if self.unfinished.exists() else None

    def is_finished(self) -> bool:
        """Return whether the very classifier is there."""
        if not (self.out.is_file() and self.description.is_file()):
            return False
        return self._described().get("fingerprint") == self.fingerprint

    def finished(self) -> History:
        """Return how the training went that made the classifier.

        Raises:
            LpcamError: its description is damaged.
        """
        described = self._described()
        try:
            columns = described.get("losses_by_name") or {"": described["losses"]}
            map_per_epoch = described["map_per_epoch"]
            miou_per_epoch = described.get("miou_per_epoch") or [None] * len(map_per_epoch)
            return History(_columns(*columns.values()), _columns(map_per_epoch, miou_per_epoch))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise LpcamError(f"{self.description} is damaged ({error!r}): {_REPAIR}") from error

    def finish(self, state: dict[str, Tensor], history: History, loss_names: tuple[str, ...]) -> None:
        """Write the classifier and the picture, then how it was made; the state is not needed any more."""
        save_classifier(self.out, state)
        losses, scores = history.losses.numpy(), history.scores.numpy()
        plot(self._beside("png"), losses, scores, loss_names, self.steps_per_epoch)
        write_json(self.description, {**self._facts(), **_numbers(losses, scores, loss_names)}, sealed=True)
        self.unfinished.unlink(missing_ok=True)

    def report(
        self, history: History, loss_names: tuple[str, ...], first_step: int, seconds: float, *notices: str
    ) -> TrainingReport:
        """Return what a call did that began with ``first_step``."""
        by_epoch = history.losses.view(self.recipe.epochs, self.steps_per_epoch, -1).mean(dim=1)
        absent = absent_classes(label_matrix(self.split), self.split.classes)
        return TrainingReport(
            self.out,
            self.trunk.arch,
            self.split.classes,
            tuple(by_epoch.sum(dim=1).tolist()),
            _nones(history.scores[:, 0]),
            self.steps,
            first_step,
            (self.steps - first_step) * self.recipe.batch_size,
            seconds,
            (*self.split.notices, *absent, *notices),
            _nones(history.scores[:, 1]),
            {name: tuple(column) for name, column in zip(loss_names, by_epoch.T.tolist(), strict=True)},
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            **self.system,
            "arch": self.trunk.arch,
            "stride": self.trunk.stride,
            "classes": self.split.classes,
            "photos": len(self.split.photos),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }

    def _beside(self, kind: str) -> Path:
        return self.out.with_name(f"{self.out.name}.{kind}")

    def _is_mine(self) -> bool:
        try:
            return Progressed.load(self.unfinished).fingerprint == self.fingerprint
        except LpcamError:
            return False

    def _described(self) -> dict[str, Any]:
        return read_json(self.description, repair=_REPAIR)


def _numbers(losses: Any, scores: Any, names: tuple[str, ...]) -> dict[str, Any]:
    numbers: dict[str, Any] = {"losses": losses.sum(axis=1).tolist()}
    if len(names) > 1:
        numbers["losses_by_name"] = dict(zip(names, losses.T.tolist(), strict=True))
    return {**numbers, "map_per_epoch": _nones(scores[:, 0]), "miou_per_epoch": _nones(scores[:, 1])}


def _columns(*columns: list[float | None]) -> Tensor:
    rows = [[math.nan if value is None else float(value) for value in row] for row in zip(*columns, strict=True)]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(columns))


def _nones(scores: Any) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(score) else score for score in scores.tolist())
