"""Files of a training: the classifier that came out, and the state that an interrupted one goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.backbones.checkpoints import is_plain, load_torch
from lpcam.errors import LpcamError
from lpcam.files import write_atomically

SCHEMA = 2


def save_classifier(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict that `lpcam.backbones.load_classifier` and ``torch.load(weights_only=True)`` read.

    Raises:
        LpcamError: the file cannot be written.
    """
    write_atomically(path, lambda partial: torch.save(state, partial))


@dataclass(frozen=True)
class Progressed:
    """A training that is not finished: everything that later steps depend on.

    Nothing random is in it: the photos of a step, their crops and dropout follow from the seed and the number of the
    step alone.

    Attributes:
        fingerprint: Of photos, labels, recipe, first weights and seed.
        step: Steps that were done.
        model: The network's state dict, head included.
        optimiser: The optimiser's state: momentum, by parameter.
        losses: float64 [step, L].
        scores: float64 [epochs done, 2], validation mAP and mIoU; NaN where there was none.
    """

    fingerprint: str
    step: int
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    losses: Tensor
    scores: Tensor

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; ``torch.load(weights_only=True)`` reads it.

        Raises:
            LpcamError: the file cannot be written.
        """
        write_atomically(path, lambda partial: torch.save({"schema": SCHEMA, **vars(self)}, partial))

    def check(self) -> None:
        """Refuse what cannot be the state of a training.

        Raises:
            ValueError: numbers are missing or there are others.
        """
        tensors = (*self.model.values(), self.losses, self.scores)
        if type(self.step) is not int or self.step < 0 or not all(is_plain(tensor) for tensor in tensors):
            raise ValueError("other values")
        if self.losses.ndim != 2 or len(self.losses) != self.step or self.scores.shape[1:] != (2,):
            raise ValueError("losses and scores of other steps")

    @classmethod
    def load(cls, path: Path) -> Progressed:
        """Read it.

        Raises:
            LpcamError: the file is damaged or of another version.
        """
        advice = "delete it, or add --overwrite, to train from the start"
        try:
            content: dict[str, Any] = dict(load_torch(path))  # type: ignore[call-overload]
            schema = content.pop("schema")
            progressed = cls(**content)
            progressed.check()
        except Exception as error:  # damaged bytes can fail in any way
            raise LpcamError(f"{path} is not the state of a training, or is damaged: {advice}") from error
        if schema != SCHEMA:
            raise LpcamError(f"{path} was written by another version of lpcam: {advice}")
        return progressed
