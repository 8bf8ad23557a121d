"""What some refiners read beside the seeds: files made from a photo's maps and its pixels.

The parts of a photo lie in sub-folders of the seeds' folder: ``{seeds}/la_crf/{name}.npy``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps, Photo
from lpcam.refiners.next_step import Origin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lpcam.refiners import Refiner


@dataclass(frozen=True)
class PartOptions:
    """What is asked for beside the seeds.

    Attributes:
        crf: What the family makes with a dense CRF.
        saliency: Folder of saliency maps, ``{name}.png``.
        chosen: Parts whose folders and settings are named one by one, beside those of the family.
    """

    crf: bool = False
    saliency: Path | None = None
    chosen: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Part(ABC):
    """One file a photo beside its seeds.

    Attributes:
        folder: Sub-folder of the seeds.
    """

    folder: str

    suffix = ".npy"

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the files depend on beside maps and pixels; JSON values only."""

    @abstractmethod
    def write(self, path: Path, name: str, maps: ActivationMaps, pixels: NDArray[np.uint8]) -> None:
        """Write the file of a photo, whole or not at all.

        Args:
            path: The file.
            name: Of the photo.
            maps: Its activation maps as the family's files hold them.
            pixels: uint8 [H, W, 3], RGB.

        Raises:
            LpcamError: the file cannot be written, or what the part needs of the photo is missing.
        """

    def check(self, photos: Sequence[Photo]) -> None:
        """Refuse photos for which the part cannot be made, before any is processed; here none.

        Raises:
            LpcamError: there is one.
        """
        return


def parts_of(refiner: Refiner, options: PartOptions, origin: Origin) -> tuple[Part, ...]:
    """Return the parts that were asked for.

    Raises:
        LpcamError: the family has none of that kind, or pydensecrf is missing.
    """
    crf = refiner.crf_parts(origin) if options.crf else ()
    saliency = refiner.saliency_parts(options.saliency) if options.saliency else ()
    if options.crf and not crf:
        raise LpcamError(f"{refiner.name} reads nothing that a CRF makes: leave --crf out")
    if options.saliency and not saliency:
        raise LpcamError(f"{refiner.name} reads nothing made from saliency: leave --saliency out, or choose edam")
    if crf:
        from lpcam.crf import require_crf

        require_crf()
    return crf + saliency + options.chosen
