"""Localisation methods: features in, activation maps out, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Method(Protocol):
    """What the generate room asks of a method."""

    @property
    def epsilon(self) -> float:
        """Added to a map's maximum before the map is divided by it."""

    def view_maps(self, features: Tensor, labels: Sequence[int]) -> Tensor:
        """Return the maps [K, h, w] of one scale from the features [V, C, h, w], V = 1 or 2 (with the mirror)."""
