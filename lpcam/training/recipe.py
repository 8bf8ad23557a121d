"""How a network is trained: the numbers that every system of the tool shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lpcam.errors import LpcamError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are IRN's.

    Attributes:
        epochs: Passes over the photos.
        batch_size: Photos a step; the rest of an epoch that does not fill a batch is left out.
        lr: Learning rate of the first step; that of step t of T is lr · (1 − t/T)^power.
        head_lr_factor: How much larger it is for what is new, such as the head.
        power: Of the polynomial.
        momentum: Of SGD.
        weight_decay: Of all parameters.
        crop: Side of the square that is seen of a photo, px.
        resize: Least and most length of a photo's longer side, as a share of the crop: 320 to 640 px for 512.
    """

    epochs: int = 5
    batch_size: int = 16
    lr: float = 0.1
    head_lr_factor: float = 10.0
    power: float = 0.9
    momentum: float = 0.0
    weight_decay: float = 1e-4
    crop: int = 512
    resize: tuple[float, float] = (0.625, 1.25)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            LpcamError: one is out of range.
        """
        for name, value in (("epochs", self.epochs), ("batch size", self.batch_size), ("crop", self.crop)):
            if value < 1:
                raise LpcamError(f"{name} is {value}: choose 1 or more")
        for name, rate in (("lr", self.lr), ("head-lr-factor", self.head_lr_factor)):
            if not 0 < rate < math.inf:
                raise LpcamError(f"{name} is {rate:g}: choose a number above 0")
        for name, share in (("weight-decay", self.weight_decay), ("momentum", self.momentum)):
            if not 0 <= share < 1:
                raise LpcamError(f"{name} is {share:g}: choose a number in [0, 1)")
        if not 0 < self.resize[0] <= self.resize[1]:
            raise LpcamError(f"resize is {self.resize}: choose two shares of the crop above 0, the smaller one first")


def polynomial(share: float, power: float) -> float:
    """Return the learning rate, as a share of the first, after ``share`` of all steps.

    >>> [round(polynomial(share, 0.9), 3) for share in (0, 0.5, 1)]
    [1.0, 0.536, 0.0]
    """
    return float((1 - share) ** power)
