"""A family together with its parts: everything that is written of a photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lpcam.datasets import read_photo
from lpcam.files import sweep
from lpcam.records import ActivationMaps, Photo
from lpcam.refiners import Refiner, get_refiner
from lpcam.refiners.maps import as_numpy
from lpcam.refiners.next_step import Origin, summary, write_script
from lpcam.refiners.parts import Part, PartOptions, parts_of


def unnoted(written: Path) -> None:
    """Keep no checksum of a file."""


@dataclass(frozen=True)
class Writing:
    """What is written of a photo into one folder.

    Attributes:
        refiner: The family.
        parts: What is written beside its seeds.
    """

    refiner: Refiner
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, refiner: str, options: PartOptions, origin: Origin) -> Writing:
        """Return what a family writes of maps of that origin.

        Raises:
            LpcamError: the family or a part does not exist, or a part's package is missing.
        """
        family = get_refiner(refiner)
        return cls(family, parts_of(family, options, origin))

    @property
    def settings(self) -> dict[str, Any]:
        """What the parts depend on, by their folder; JSON values only."""
        return {part.folder: part.settings for part in self.parts}

    def check(self, photos: Sequence[Photo]) -> None:
        """Refuse photos for which a part cannot be made, before any is processed."""
        for part in self.parts:
            part.check(photos)

    def sweep(self, folder: Path) -> None:
        """Remove partial files of processes that were killed."""
        for of in (folder, *(folder / part.folder for part in self.parts)):
            sweep(of)

    def is_written(self, folder: Path, name: str) -> bool:
        """Return whether everything of a photo is there."""
        return all(path.is_file() for path in self.files(folder, name))

    def files(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Return where everything of a photo lies: its seeds, then its parts."""
        return self.refiner.path(folder, name), *(self._part_path(part, folder, name) for part in self.parts)

    def write(self, folder: Path, photo: Photo, maps: ActivationMaps, note: Callable[[Path], None] = unnoted) -> None:
        """Write seeds and parts of a photo; each file is whole or not there, and noted when it is."""
        self.refiner.write(folder, photo.name, maps)
        if self.parts:
            pixels = read_photo(photo.path)
            held = replace(maps, high_res=torch.from_numpy(self.refiner.normalised(as_numpy(maps.high_res))))
            for part in self.parts:
                part.write(self._part_path(part, folder, photo.name), photo.name, held, pixels)
        for path in self.files(folder, photo.name):
            note(path)

    def _part_path(self, part: Part, folder: Path, name: str) -> Path:
        return folder / part.folder / f"{self.refiner.stem(name)}{part.suffix}"


def write_next_step(
    refiner: Refiner, folder: Path, origin: Origin, note: Callable[[Path], None] = unnoted
) -> tuple[str, ...]:
    """Write ``refine.sh`` beside seeds and return it as a line for a person; nothing where no next step is known.

    Raises:
        LpcamError: the folder cannot be written to.
    """
    step = refiner.next_step(origin)
    if step is None:
        return ()
    script = write_script(folder, refiner.title, step, origin)
    note(script)
    return (summary(script, refiner.title, step),)
