"""Label PNGs that networks are trained from: uint8 palette images, 0 background, k+1 class k, 255 not counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lpcam.crf import CLIP_ES, IRN, CrfSettings, crf_of_labels, crf_of_scores
from lpcam.datasets import photo_size
from lpcam.datasets.photos import opened
from lpcam.errors import LpcamError
from lpcam.files import write_atomically
from lpcam.records import ActivationMaps, Photo
from lpcam.refiners.maps import as_numpy, background_of
from lpcam.refiners.parts import Part

IGNORED = 255
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelPart(Part):
    """A part whose files are label PNGs."""

    suffix = ".png"

    def check(self, photos: Sequence[Photo]) -> None:
        """Refuse classes that a byte cannot name; see `lpcam.refiners.parts.Part.check`."""
        highest = max((label for photo in photos for label in photo.labels), default=0)
        if highest + 1 >= IGNORED:
            raise LpcamError(f"label PNGs name at most 254 classes and a photo is of class {highest}: leave them out")


@dataclass(frozen=True)
class IrLabels(LabelPart):
    """IRN's labels of certain objects and certain background.

    The maps with the constant ``conf_fg`` for the background are labelled by argmax and smoothed by a CRF: what is
    not background is certain. The same with ``conf_bg``: what is background is certain. The rest is 255.

    Attributes:
        conf_fg: In 0..1.
        conf_bg: In 0..1.
        crf: Settings of the CRF.
    """

    conf_fg: float
    conf_bg: float
    crf: CrfSettings = IRN

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on."""
        return {"conf_fg": self.conf_fg, "conf_bg": self.conf_bg, "crf": asdict(self.crf)}

    def write(self, path: Path, name: str, maps: ActivationMaps, pixels: NDArray[np.uint8]) -> None:
        """Write the PNG; see `lpcam.refiners.parts.Part.write`."""
        classes = as_numpy(maps.high_res)
        certain, possible = (
            crf_of_labels(pixels, _winners(classes, conf), len(classes) + 1, self.crf)
            for conf in (self.conf_fg, self.conf_bg)
        )
        labels = _values(maps)[certain]
        labels[certain == 0] = IGNORED
        labels[(certain == 0) & (possible == 0)] = 0
        save_labels(path, labels)


@dataclass(frozen=True)
class PlainLabels(LabelPart):
    """The argmax of the maps and a constant for the background.

    Attributes:
        background: In 0..1.
    """

    background: float

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on."""
        return {"background": self.background}

    def write(self, path: Path, name: str, maps: ActivationMaps, pixels: NDArray[np.uint8]) -> None:
        """Write the PNG; see `lpcam.refiners.parts.Part.write`."""
        save_labels(path, _values(maps)[_winners(as_numpy(maps.high_res), self.background)])


@dataclass(frozen=True)
class ConfidentLabels(LabelPart):
    """CLIP-ES's labels: the argmax of a CRF's posterior, 255 where it is below ``least``.

    The background's score is 1 − max_k.

    Attributes:
        least: In 0..1.
        crf: Settings of the CRF.
    """

    least: float = 0.95
    crf: CrfSettings = CLIP_ES

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on."""
        return {"least": self.least, "crf": asdict(self.crf)}

    def write(self, path: Path, name: str, maps: ActivationMaps, pixels: NDArray[np.uint8]) -> None:
        """Write the PNG; see `lpcam.refiners.parts.Part.write`."""
        classes = as_numpy(maps.high_res)
        posterior = crf_of_scores(pixels, np.concatenate([background_of(classes), classes]), self.crf)
        labels = _values(maps)[posterior.argmax(axis=0)]
        labels[posterior.max(axis=0) < self.least] = IGNORED
        save_labels(path, labels)


@dataclass(frozen=True)
class SaliencyLabels(LabelPart):
    """EDAM's labels: the argmax of its maps (channel k+1) and a background that the saliency gives (channel 0).

    Channel 0 is 1 where the saliency is at most θ·100, else 0. A map below α becomes −2, above β 2, so that what
    is certain wins over the background.

    Attributes:
        saliency: Folder of saliency maps, ``{name}.png``, 8-bit grey in 0..255, of the photos' sizes.
        theta: θ, in 0..1.
        alpha: α, in the unit of the maps.
        beta: β, in the unit of the maps.
    """

    saliency: Path
    theta: float = 0.2
    alpha: float = 1e-6
    beta: float = 0.99999

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on."""
        numbers = {"theta": self.theta, "alpha": self.alpha, "beta": self.beta}
        return {"saliency": str(self.saliency.resolve()), **numbers}

    def check(self, photos: Sequence[Photo]) -> None:
        """Refuse photos without a saliency map; see `lpcam.refiners.parts.Part.check`."""
        super().check(photos)
        missing = [photo.name for photo in photos if not self._file(photo.name).is_file()]
        if missing:
            raise LpcamError(
                f"{self.saliency} lacks the saliency maps of {len(missing)} of {len(photos)} photos, the first is "
                f"'{missing[0]}.png': add them, or leave --saliency out"
            )
        for photo in photos:
            self._check_size(photo)

    def write(self, path: Path, name: str, maps: ActivationMaps, pixels: NDArray[np.uint8]) -> None:
        """Write the PNG; see `lpcam.refiners.parts.Part.write`."""
        classes = as_numpy(maps.high_res)
        background = (self._read(name, classes.shape[1:]) <= self.theta * 100).astype(np.float32)
        scores = np.select([classes < self.alpha, classes > self.beta], [-2, 2], classes)
        save_labels(path, _values(maps)[np.concatenate([background[None], scores]).argmax(axis=0)])

    def _file(self, name: str) -> Path:
        return self.saliency / f"{name}.png"

    def _check_size(self, photo: Photo) -> None:
        try:
            size = photo_size(photo.path)
        except LpcamError:  # the photo becomes a failure of its own
            return
        with opened(self._file(photo.name)) as image:
            _check_fit(self._file(photo.name), (image.height, image.width), size)

    def _read(self, name: str, size: tuple[int, ...]) -> Labels:
        with opened(self._file(name)) as image:
            values = np.array(image.convert("L"))
        _check_fit(self._file(name), values.shape, size)
        return values


def save_labels(path: Path, labels: Labels) -> None:
    """Write a label PNG with VOC's palette, atomically; without a palette viewers show it black.

    Args:
        path: The file to be made.
        labels: uint8 [H, W].

    Raises:
        LpcamError: the file cannot be written.
    """
    image = Image.fromarray(labels)
    image.putpalette(voc_palette())
    write_atomically(path, lambda partial: image.save(partial, format="PNG"))


@cache
def voc_palette() -> bytes:
    """Return VOC's 256 colours: the bits of an index, three at a time, are the high bits of red, green and blue.

    >>> [tuple(voc_palette()[3 * index : 3 * index + 3]) for index in (0, 1, 2, 255)]
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)]
    """
    index, place = np.arange(256)[:, None, None], np.arange(8)
    bits = index >> (3 * place + np.arange(3)[:, None]) & 1  # [index, channel, place]
    return bytes((bits << (7 - place)).sum(axis=2).astype(np.uint8).tobytes())


def _winners(classes: NDArray[np.float32], background: float) -> NDArray[np.int64]:
    """Return the channel that is highest, 0 for a constant background: [K, H, W] → [H, W] in 0..K."""
    winners: NDArray[np.int64] = np.pad(classes, ((1, 0), (0, 0), (0, 0)), constant_values=background).argmax(axis=0)
    return winners


def _values(maps: ActivationMaps) -> Labels:
    """Return what a label PNG says of every channel: 0, then the classes."""
    return np.array([0, *(label + 1 for label in maps.labels)], dtype=np.uint8)


def _check_fit(path: Path, size: tuple[int, ...], photo: tuple[int, ...]) -> None:
    if tuple(size) != tuple(photo):
        raise LpcamError(
            f"{path} is {size[1]}×{size[0]} but its photo is {photo[1]}×{photo[0]} (width×height): "
            "make the saliency map anew in the photo's size"
        )
