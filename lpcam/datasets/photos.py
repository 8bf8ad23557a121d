"""Photos and masks as arrays: upright, RGB, and one the size of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from lpcam.errors import LpcamError
from lpcam.records import DrawnMask, Photo

MAX_PIXELS = 1024**3 // 12
"""The most pixels a photo may have, 89 million: where Pillow begins to warn of decompression bombs."""

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
"""What files may be, whatever their suffix says: Pillow reads forty more, of which EPS starts another program."""

IGNORED = 255
"""The value of a mask where no class is meant."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TURNED_PIXELS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_BAND = 2**22  # pixels that are turned to RGB at a time


def read_photo(path: Path) -> NDArray[np.uint8]:
    """Read a photo as a person sees it.

    Grey, palette, CMYK and 16-bit photos become 8-bit RGB (16 bits are scaled by 1/257), transparent
    ones lie on white, and an EXIF orientation is applied.

    Args:
        path: An image file that Pillow reads.

    Returns:
        uint8 [H, W, 3], RGB, contiguous.

    Raises:
        LpcamError: the file is missing, damaged, has more than `MAX_PIXELS` pixels or values without a
            known range.
    """
    pixels, orientation = _decoded(path)
    return np.ascontiguousarray(_TURNED_PIXELS[orientation](pixels))


def photo_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of the upright photo; of a JPEG only the header is read.

    Raises:
        LpcamError: as `read_photo`, as far as the header shows it.
    """
    width, height = _upright_size(*_geometry(path))
    return height, width


def read_mask(photo: Photo, num_classes: int | None = None) -> NDArray[np.uint8]:
    """Read the mask of a photo so that it fits `read_photo` of it.

    A mask of the photo's stored size is turned with the photo when that has an EXIF orientation; one of
    the upright size is taken as it is.

    Args:
        photo: A photo with a mask: a palette or 8-bit grey image whose values are 0 background, k+1
            class k, 255 ignored, or a drawing of these. A palette's indices count, not its colours.
        num_classes: K; when given, values from K+1 to 254 are refused.

    Returns:
        uint8 [H, W], contiguous.

    Raises:
        LpcamError: the mask is missing, damaged, of another size or kind, or holds values that are no
            classes.
    """
    if photo.mask is None:
        raise LpcamError(f"photo {photo.name} has no mask: evaluate a split whose photos have masks")
    orientation, stored = _geometry(photo.path)
    indices = _read_indices(photo.mask)
    if indices.size == stored:
        indices = _turned(indices, orientation)
    elif indices.size != _upright_size(orientation, stored):
        raise LpcamError(
            f"{photo.mask} is {indices.width}×{indices.height} but its photo {photo.path} is "
            f"{stored[0]}×{stored[1]} (width×height): make the mask anew in the photo's size"
        )
    mask = np.array(indices, dtype=np.uint8, order="C")
    if num_classes is not None:
        _check_values(mask, num_classes, photo.mask)
    return mask


def mask_labels(path: Path, num_classes: int) -> tuple[int, ...]:
    """Return the sorted 0-based classes that a mask shows.

    Args:
        path: A mask as `read_mask` reads it.
        num_classes: K.

    Raises:
        LpcamError: as `read_mask`.
    """
    values = np.array(_read_indices(path), dtype=np.uint8)
    return tuple(value - 1 for value in _check_values(values, num_classes, path))


def _read_indices(mask: Path | DrawnMask) -> Image.Image:
    if not isinstance(mask, Path):
        return Image.fromarray(mask.draw())
    with opened(mask) as image:
        return _indices(image, mask)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image of allowed form and size; whatever Pillow cannot do inside the block is the file's fault.

    Raises:
        LpcamError: the file is missing, damaged, of another form, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise LpcamError(_too_large(path, f"{image.width}×{image.height} pixels"))
            yield image
    except LpcamError:
        raise
    except FileNotFoundError:
        raise LpcamError(f"{path} does not exist: check the data set's folder") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LpcamError(_too_large(path, str(error))) from error
    except Exception as error:  # Pillow's decoders fail on damaged files in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LpcamError(f"cannot read {path} ({reason}): replace the file or take it off the list") from error


def _too_large(path: Path, reason: str) -> str:
    return f"{path} is too large ({reason}; at most {MAX_PIXELS} pixels): scale it down or take it off the list"


def _geometry(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the EXIF orientation (1..8) and the stored (width, height)."""
    with opened(path) as image:
        if image.format == "TIFF":
            image.load()  # Pillow turns these itself when it loads them
        return _orientation(image), image.size


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # an unreadable note about the camera is no reason to refuse the photo
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _upright_size(orientation: int, stored: tuple[int, int]) -> tuple[int, int]:
    return (stored[1], stored[0]) if orientation >= 5 else stored


def _decoded(path: Path) -> tuple[NDArray[np.uint8], int]:
    """Return a photo as it is stored, uint8 [H, W, 3], and its EXIF orientation.

    Rows are turned to RGB a few at a time: beside what Pillow decodes there is never more than the result.
    """
    with opened(path) as image:
        image.load()
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        step = max(1, _BAND // image.width)
        for top in range(0, image.height, step):
            rows = image.crop((0, top, image.width, min(top + step, image.height)))
            pixels[top : top + step] = np.asarray(_rgb(rows, path))
        return pixels, _orientation(image)


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bits(np.asarray(image), path)
    if image.mode == "F":
        raise LpcamError(f"{path} holds real numbers of unknown range: save it as 8-bit RGB")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _from_16_bits(values: NDArray[Any], path: Path) -> Image.Image:
    if values.min() < 0 or values.max() > 65535:
        raise LpcamError(f"{path} holds 32-bit numbers of unknown range: save it as 8-bit RGB")
    grey = np.rint(values / 257).astype(np.uint8)  # 65535 / 257 = 255
    return Image.fromarray(grey).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _indices(image: Image.Image, path: Path) -> Image.Image:
    if image.mode not in ("P", "L", "1"):
        raise LpcamError(
            f"mask {path} is an image of mode {image.mode}, not of class indices: save the indices as a "
            "palette or 8-bit grey PNG"
        )
    return Image.fromarray(np.asarray(image).astype(np.uint8))  # forgets the palette; mode 1 becomes 0 and 1


def _check_values(values: NDArray[np.uint8], num_classes: int, path: Path | DrawnMask) -> list[int]:
    """Return the classes (1..K) among a mask's values; refuse other values."""
    counts = sum(np.bincount(row, minlength=256) for row in values)  # which makes an int64 of every pixel
    seen = np.flatnonzero(counts).tolist()
    classes = [value for value in seen if value not in (0, IGNORED)]
    if classes and classes[-1] > num_classes:
        raise LpcamError(
            f"mask {path} has the value {classes[-1]}, but there are {num_classes} classes (0 background, "
            f"1..{num_classes} classes, {IGNORED} ignored): correct the mask or name all classes with --classes"
        )
    return classes
