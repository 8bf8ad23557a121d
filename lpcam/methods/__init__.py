"""Localisation methods: features in, activation maps out, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from lpcam.records import ViewFeatures

if TYPE_CHECKING:
    from torch import Tensor


class Method(Protocol):
    """What the generate room asks of a method."""

    @property
    def epsilon(self) -> float:
        """Added to a map's maximum before the map is divided by it."""

    @property
    def reads_levels(self) -> bool:
        """Whether the maps need the features of all levels of the network, not of the last alone."""

    def view_maps(self, seen: ViewFeatures, labels: Sequence[int]) -> Tensor:
        """Return the maps [K, h, w] of one scale, K = len(labels)."""
