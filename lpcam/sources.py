"""Where a run's photos and its classifier come from, said once and remembered by the feature store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lpcam.datasets import open_split
from lpcam.errors import LpcamError
from lpcam.records import DataSplit

if TYPE_CHECKING:
    from lpcam.backbones import Classifier

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSource:
    """A split of a data set, as ``--dataset --root --split --labels --classes --masks`` name it.

    Attributes:
        dataset: ``voc``, ``coco``, ``folder`` or ``demo``.
        root: Folder of the data set.
        split: Name of the list, or the path of a list file.
        labels: File of image-level labels, if not the data set's own.
        classes: File of class names, if not the data set's own.
        masks: Folder of true masks, if not the data set's own.
    """

    dataset: str
    root: Path
    split: str = "train"
    labels: Path | None = None
    classes: Path | None = None
    masks: Path | None = None

    def open(self) -> DataSplit:
        """Read names and labels."""
        split = open_split(
            self.dataset, self.root, self.split, labels=self.labels, classes=self.classes, masks=self.masks
        )
        masks = sum(photo.mask is not None for photo in split.photos)
        _LOG.info(
            "%s in %s, split %s: %d photos, %d with masks, %d classes",
            *(split.dataset, self.root, split.split, len(split.photos), masks, len(split.classes)),
        )
        return split

    def with_split(self, split: str | None) -> Self:
        """Return the same data set's other split."""
        return self if split is None else replace(self, split=split)

    def as_json(self) -> dict[str, str | None]:
        """Return absolute paths and names, so that a later command may run from any folder."""
        split = Path(self.split).resolve() if Path(self.split).is_file() else self.split
        return _as_json({**asdict(self), "split": split})

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Undo `as_json`.

        Raises:
            LpcamError: it is damaged.
        """
        known = _remembered(value, "photos", ("dataset", "root", "split"), ("labels", "classes", "masks"))
        paths = {name: _path(known[name]) for name in ("labels", "classes", "masks")}
        return cls(known["dataset"], Path(known["root"]), known["split"], **paths)


@dataclass(frozen=True)
class ClassifierSource:
    """A pretrained classifier, as ``--arch --weights --stride --layer --head`` name it.

    Attributes:
        arch: Architecture.
        weights: Checkpoint file, or ``imagenet``.
        stride: Output stride; None for the architecture's default.
        layer: Feature layer; None for the architecture's default.
        head: File of class weights that replaces the checkpoint's head.
    """

    arch: str
    weights: str | Path
    stride: int | None = None
    layer: str | None = None
    head: Path | None = None

    def load(self, num_classes: int, device: str) -> Classifier:
        """Load the frozen classifier and check that it has K classes."""
        from lpcam.backbones import load_classifier

        return load_classifier(
            self.arch,
            self.weights,
            num_classes=num_classes,
            stride=self.stride,
            layer=self.layer,
            head=self.head,
            device=device,
        )

    def load_again(self, num_classes: int, device: str, sha256: str) -> Classifier:
        """Load the classifier whose identity is known.

        Raises:
            LpcamError: the checkpoint holds other weights now.
        """
        net = self.load(num_classes, device)
        if net.sha256 != sha256:
            raise LpcamError(
                f"{self.weights} holds other weights than the features were extracted with: "
                "put the old file back, or run 'lpcam extract-features --overwrite'"
            )
        return net

    def as_json(self) -> dict[str, Any]:
        """Return absolute paths and names."""
        weights = self.weights if self.weights == "imagenet" else Path(self.weights)
        return {**_as_json({**asdict(self), "weights": weights}), "stride": self.stride}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Undo `as_json`.

        Raises:
            LpcamError: it is damaged.
        """
        known = _remembered(value, "classifier", ("arch", "weights"), ("layer", "head"))
        stride = value.get("stride")
        if stride is not None and type(stride) is not int:
            raise _forgotten("classifier")
        return cls(known["arch"], known["weights"], stride, known["layer"], _path(known["head"]))


def _as_json(values: dict[str, Any]) -> dict[str, str | None]:
    return {
        name: str(value.resolve() if isinstance(value, Path) else value) if value is not None else None
        for name, value in values.items()
    }


def _remembered(value: object, what: str, needed: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Return the words that a workspace remembers; those not needed may be None."""
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in needed):
        raise _forgotten(what)
    if not all(isinstance(value.get(name), str | None) for name in others):
        raise _forgotten(what)
    return {name: value.get(name) for name in (*needed, *others)}


def _forgotten(what: str) -> LpcamError:
    return LpcamError(
        f"what the workspace remembers of its {what} is damaged: run 'lpcam extract-features' or the import again "
        "with --overwrite"
    )


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
