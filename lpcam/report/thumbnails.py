"""Pictures small enough for a page: encoded, and fitted into a number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Fit = TypeVar("Fit")


@dataclass(frozen=True)
class Size:
    """How large and how good a picture is.

    Attributes:
        side: Its longer side, px.
        quality: Of WebP, 0..100.
    """

    side: int
    quality: int


def encoded(content: bytes) -> str:
    """Return base64, as a page holds it."""
    return base64.b64encode(content).decode("ascii")


def webp(pixels: Pixels, quality: int) -> str:
    """Return a picture [h, w, 3], or a plane [h, w] as grey, as base64 of a WebP; planes come back within a few of 255.

    Args:
        pixels: uint8.
        quality: 0..100.
    """
    return _saved(Image.fromarray(pixels), format="WEBP", quality=quality, method=2)


def png(plane: Pixels) -> str:
    """Return a plane [h, w] as base64 of a PNG, exactly: for values that are names, not shades."""
    return _saved(Image.fromarray(plane), format="PNG", compress_level=9)


def shrunk(pixels: Pixels, side: int, *, names: bool = False) -> Pixels:
    """Return a picture no longer than ``side``; one that is small already stays as it is.

    Args:
        pixels: uint8 [h, w] or [h, w, 3].
        side: Of the result, px, ≥ 1.
        names: Values are names: the nearest is taken, nothing is averaged.
    """
    height, width = pixels.shape[:2]
    share = min(1.0, side / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    how = Image.Resampling.NEAREST if names else Image.Resampling.BOX
    return pixels if share == 1 else np.array(Image.fromarray(pixels).resize(size, how))


class Fitter(Generic[Fit]):
    """Finds the heaviest drawing within an allowance; it begins one step above where it ended before.

    Args:
        fits: From the heaviest to the lightest.
        weigh: Returns the bytes of a drawing.
    """

    def __init__(self, fits: Sequence[Fit], weigh: Callable[[Any], int]) -> None:
        self._fits, self._weigh, self._first = fits, weigh, 0

    def fit(self, allowance: int, draw: Callable[[Fit], Any]) -> Any:
        """Return the first drawing that is no heavier than the allowance, or the lightest."""
        for place in range(self._first, len(self._fits)):
            drawing = draw(self._fits[place])
            if self._weigh(drawing) <= allowance:
                break
        self._first = max(0, place - 1)
        return drawing


def _saved(image: Image.Image, **how: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return encoded(buffer.getvalue())
