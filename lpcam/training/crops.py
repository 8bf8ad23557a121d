"""What a network in training sees of a photo: a random crop, or the whole photo in the middle of a square."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of every colour, of values in 0..1."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def random_crop(
    photo: NDArray[np.uint8],
    side: int,
    longest: tuple[float, float],
    normalisation: Normalisation,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Resize, mirror and crop a photo by random amounts, as IRN does.

    Its longer side becomes a whole number of px drawn evenly from ``longest``; every second photo is mirrored; where
    it is smaller than the crop it lies anywhere in it, where it is larger the crop lies anywhere in the photo.

    Args:
        photo: uint8 [H, W, 3], RGB.
        side: Of the crop, px.
        longest: Least and most length of the longer side, px.
        normalisation: Of the colours.
        random: Draws the amounts.

    Returns:
        float32 [3, side, side], normalised; 0 outside of the photo.
    """
    length = random.integers(round(longest[0]), round(longest[1]), endpoint=True)
    pixels = normalised(resized(photo, int(length)), normalisation)
    if random.random() < 0.5:
        pixels = pixels[:, :, ::-1]
    spare = [side - size for size in pixels.shape[1:]]
    return _placed(pixels, side, [int(random.integers(min(0, free), max(0, free), endpoint=True)) for free in spare])


def centred(photo: NDArray[np.uint8], side: int, longest: float, normalisation: Normalisation) -> NDArray[np.float32]:
    """Return the whole photo, its longer side ``longest`` px, in the middle of a square: float32 [3, side, side]."""
    pixels = normalised(resized(photo, round(longest)), normalisation)
    return _placed(pixels, side, [(side - size) // 2 for size in pixels.shape[1:]])


def resized(photo: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return the photo with a longer side of ``longest`` px (PIL bicubic), no side shorter than one."""
    height, width = photo.shape[:2]
    share = longest / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))


def normalised(photo: NDArray[np.uint8], normalisation: Normalisation) -> NDArray[np.float32]:
    """Return the photo as float32 [3, H, W] with the classifier's mean and standard deviation."""
    mean, std = (np.asarray(values, np.float32)[:, None, None] * 255 for values in normalisation)
    scaled: NDArray[np.float32] = (photo.transpose(2, 0, 1).astype(np.float32) - mean) / std
    return scaled


def read_ahead(load: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Result]:
    """Yield ``load(item)`` of every item, in order, while ``workers`` threads load the next ``ahead``.

    Args:
        load: Loads one item.
        items: What is loaded.
        workers: Threads; 0 loads in line.
        ahead: Items that are loaded before they are asked for.

    >>> list(read_ahead(abs, [-1, 2, -3], workers=2, ahead=2))
    [1, 2, 3]
    """
    if workers == 0:
        yield from map(load, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="lpcam-crop") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _placed(pixels: NDArray[np.float32], side: int, offsets: list[int]) -> NDArray[np.float32]:
    """Return a square with the pixels at (top, left); negative offsets cut off what lies before."""
    square = np.zeros((3, side, side), np.float32)
    rows, columns = (slice(max(0, offset), max(0, offset + size)) for offset, size in _sides(pixels, offsets))
    top, left = (max(0, -offset) for offset in offsets)
    place = square[:, rows, columns]
    place[:] = pixels[:, top : top + place.shape[1], left : left + place.shape[2]]
    return square


def _sides(pixels: NDArray[np.float32], offsets: list[int]) -> Iterator[tuple[int, int]]:
    return zip(offsets, pixels.shape[1:], strict=True)
