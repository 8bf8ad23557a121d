"""Downstream refiners: each sibling module writes and reads the seed files of one family."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from lpcam.errors import LpcamError, unknown

if TYPE_CHECKING:
    from lpcam.records import ActivationMaps

DEFAULT_REFINER = "irn"

REFINERS = {  # where the class of each family lives; its module (and torch) is imported when it is asked for
    "irn": "lpcam.refiners.irn:Irn",
}


class Refiner(ABC):
    """A family of refiners, seen as the seed files it reads.

    Attributes:
        name: As ``--refiner`` takes it.
        suffix: Of the seed files.
    """

    name: str
    suffix: str = ".npy"

    def path(self, folder: Path, name: str) -> Path:
        """Return where the seeds of a photo lie.

        Args:
            folder: Of the seeds.
            name: Of the photo, as its data set spells it.

        Raises:
            LpcamError: the name would lead out of the folder.
        """
        if not name or name.startswith(".") or any(character in name for character in "/\\\0"):
            raise LpcamError(f"'{name}' cannot name a seed file: rename the photo without '/', '\\' or a leading dot")
        return folder / f"{name}{self.suffix}"

    @abstractmethod
    def write(self, folder: Path, name: str, maps: ActivationMaps) -> None:
        """Write the seeds of a photo, whole or not at all.

        Args:
            folder: Of the seeds; it is created.
            name: Of the photo.
            maps: Its activation maps.

        Raises:
            LpcamError: the folder cannot be written to.
            ValueError: the maps do not fit together, or are not finite.
        """

    @abstractmethod
    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read the seeds of a photo back.

        Args:
            folder: Of the seeds.
            name: Of the photo.

        Raises:
            LpcamError: the file is missing or is not of this family.
        """


def get_refiner(name: str = DEFAULT_REFINER) -> Refiner:
    """Return the refiner family of a name.

    Raises:
        LpcamError: there is none of that name.

    >>> get_refiner("irn").path(Path("seeds"), "2007_000032").as_posix()
    'seeds/2007_000032.npy'
    """
    if name not in REFINERS:
        raise unknown("refiner", name, REFINERS)
    module, _, family = REFINERS[name].partition(":")
    refiner: Refiner = getattr(importlib.import_module(module), family)()
    return refiner
