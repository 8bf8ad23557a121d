"""Downstream refiners: each sibling module writes and reads the seed files of one family.

A family is one class in one module and one line in `REFINERS`; docs/contributing.md shows it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpcam.errors import LpcamError, unknown
from lpcam.refiners.next_step import NextStep, Origin

if TYPE_CHECKING:
    from lpcam.records import ActivationMaps
    from lpcam.refiners.parts import Part

DEFAULT_REFINER = "irn"

REFINERS = {  # where the class of each family lives; its module (and torch) is imported when it is asked for
    "irn": "lpcam.refiners.irn:Irn",
    "lpcam": "lpcam.refiners.lpcam:Lpcam",
    "recam": "lpcam.refiners.recam:Recam",
    "advcam": "lpcam.refiners.advcam:Advcam",
    "amn": "lpcam.refiners.amn:Amn",
    "psa": "lpcam.refiners.psa:Psa",
    "seam": "lpcam.refiners.seam:Seam",
    "edam": "lpcam.refiners.edam:Edam",
    "mctformer": "lpcam.refiners.mctformer:Mctformer",
    "clip-es": "lpcam.refiners.clip_es:ClipEs",
    "sipe": "lpcam.refiners.sipe:Sipe",
}


class Refiner(ABC):
    """A family of refiners, seen as the seed files it reads.

    Attributes:
        name: As ``--refiner`` takes it.
        title: As a person reads it.
        suffix: Of the seed files.
        background: What a file says of the background, for the docs.
        keeps_size: Whether the file of a photo without classes says how large the photo is.
    """

    name: str
    title: str = ""
    suffix: str = ".npy"
    background: str = "none"
    keeps_size: bool = True

    def stem(self, name: str) -> str:
        """Return what the family calls a photo's file, without suffix.

        Args:
            name: Of the photo, as its data set spells it.

        Raises:
            LpcamError: the name would lead out of a folder.
        """
        if not name or name.startswith(".") or any(character in name for character in "/\\\0"):
            raise LpcamError(f"'{name}' cannot name a seed file: rename the photo without '/', '\\' or a leading dot")
        return name

    def path(self, folder: Path, name: str) -> Path:
        """Return where the seeds of a photo lie.

        Args:
            folder: Of the seeds.
            name: Of the photo, as its data set spells it.

        Raises:
            LpcamError: the name would lead out of the folder.
        """
        return folder / f"{self.stem(name)}{self.suffix}"

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

    def read(self, folder: Path, name: str) -> ActivationMaps:
        """Read the seeds of a photo back, without a background channel.

        A family that holds ``high_res`` only gives ``strided`` by `lpcam.refiners.maps.strided_of`. Where it keeps no
        size of a photo without classes (`keeps_size`), both are [0, 0, 0] then.

        Args:
            folder: Of the seeds.
            name: Of the photo.

        Raises:
            LpcamError: the file is missing or is not of this family, or the family cannot be read.
        """
        raise _unreadable(self.name)

    def normalised(self, high_res: Any) -> Any:
        """Return maps [K, H, W] (NumPy) as the family's files hold them; its parts are made from these."""
        return high_res

    def crf_parts(self, origin: Origin) -> tuple[Part, ...]:
        """Return what ``--crf`` writes beside the seeds."""
        return ()

    def saliency_parts(self, saliency: Path) -> tuple[Part, ...]:
        """Return what ``--saliency`` writes beside the seeds."""
        return ()

    def next_step(self, origin: Origin) -> NextStep | None:
        """Return how the family's repository goes on from such seeds; None where nothing is known of it."""
        return None


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


def get_reader(name: str) -> Refiner:
    """Return the refiner family of a name, whose seeds can be read back.

    Raises:
        LpcamError: there is none of that name, or its seeds are written and not read.
    """
    refiner = get_refiner(name)
    if not _can_read(refiner):
        raise _unreadable(name)
    return refiner


def readable() -> tuple[str, ...]:
    """Return the names of the families whose seeds can be read back."""
    return tuple(name for name in REFINERS if _can_read(get_refiner(name)))


def _can_read(refiner: Refiner) -> bool:
    return type(refiner).read is not Refiner.read


def _unreadable(name: str) -> LpcamError:
    return LpcamError(f"seeds of {name} are written and not read: choose from {', '.join(readable())}")
