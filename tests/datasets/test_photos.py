"""lpcam.datasets.photos: every kind of photo upright in RGB, and masks that fit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from lpcam.datasets import photos
from lpcam.datasets.photos import mask_labels, photo_size, read_mask, read_photo
from lpcam.errors import LpcamError
from lpcam.records import Photo


def gradient(height: int = 8, width: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    return data


# --------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_lossless_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(gradient()).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    pixels = read_photo(path)
    np.testing.assert_array_equal(pixels, gradient())
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert photo_size(path) == (8, 12)


def read_back(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: object) -> list[list[int]]:
    image.save(tmp_path / name, **options)
    pixels = read_photo(tmp_path / name)
    assert pixels.shape == (image.height, image.width, 3) == (*photo_size(tmp_path / name), 3)
    return pixels.reshape(-1, 3).tolist()


def test_grey_is_repeated(tmp_path: Path) -> None:
    assert read_back(tmp_path, Image.new("L", (1, 1), 77)) == [[77] * 3]
    assert read_back(tmp_path, Image.fromarray(np.array([[True, False]]))) == [[255] * 3, [0] * 3]


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert read_back(tmp_path, image) == [[10, 20, 30], [40, 50, 60]]
    assert read_back(tmp_path, image, transparency=1) == [[10, 20, 30], [255] * 3]


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    assert read_back(tmp_path, Image.fromarray(rgba)) == [[10, 20, 30], [255] * 3, [204] * 3]
    la = Image.fromarray(rgba).convert("LA")
    assert read_back(tmp_path, la)[1:] == [[255] * 3, [204] * 3]
    key = Image.fromarray(rgba[:, :2, :3])
    assert read_back(tmp_path, key, transparency=(10, 20, 30)) == [[255] * 3] * 2


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    deep = Image.fromarray(np.array([[0, 257, 32896, 65535, 300, 450]], np.uint16))
    assert [grey for grey, _, _ in read_back(tmp_path, deep, name)] == [0, 1, 128, 255, 1, 2]


def test_numbers_without_a_known_range_are_refused(tmp_path: Path) -> None:
    for values in (np.array([[0, 70000]], np.int32), np.array([[-1, 5]], np.int32), np.array([[0.5]], np.float32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(LpcamError, match="unknown range: save it as 8-bit RGB"):
            read_photo(tmp_path / "a.tif")


def test_cmyk_jpegs_are_not_inverted(tmp_path: Path) -> None:
    red, white = (0, 255, 255, 0), (0, 0, 0, 0)
    for ink, colour in ((red, [255, 0, 0]), (white, [255, 255, 255])):
        pixels = read_back(tmp_path, Image.new("CMYK", (8, 8), ink), "a.jpg", quality=100)
        np.testing.assert_allclose(pixels, [colour] * 64, atol=4)


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1)])
def test_one_pixel_wide(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (50, 100, 150)).save(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg").shape == (size[1], size[0], 3)


# ---------------------------------------------------------------------------------------------- EXIF

# where the stored pixels [[1, 2], [3, 4], [5, 6]] lie when seen upright, by the EXIF standard
UPRIGHT = {
    1: [[1, 2], [3, 4], [5, 6]],
    2: [[2, 1], [4, 3], [6, 5]],
    3: [[6, 5], [4, 3], [2, 1]],
    4: [[5, 6], [3, 4], [1, 2]],
    5: [[1, 3, 5], [2, 4, 6]],
    6: [[5, 3, 1], [6, 4, 2]],
    7: [[6, 4, 2], [5, 3, 1]],
    8: [[2, 4, 6], [1, 3, 5]],
}
STORED = np.array(UPRIGHT[1], np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientations_by_hand(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(np.dstack([STORED] * 3)).save(path, exif=exif(orientation), **options)
    assert read_photo(path)[:, :, 0].tolist() == UPRIGHT[orientation]
    assert photo_size(path) == np.shape(UPRIGHT[orientation])


@pytest.mark.parametrize("orientation", [*UPRIGHT, 0, 9, 300])
def test_orientations_of_jpegs_as_pillow_applies_them(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(gradient()).save(path, exif=exif(orientation))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_photo(path), expected)
    assert photo_size(path) == expected.shape[:2]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("note", [b"II*\x00\xff\xff\xff\x7f" + b"\xff" * 40, b"not a TIFF header"])
def test_broken_exif_is_passed_over(tmp_path: Path, note: bytes) -> None:
    for name in ("a.jpg", "a.png"):
        Image.fromarray(gradient()).save(tmp_path / name, exif=b"Exif\x00\x00" + note)
        assert read_photo(tmp_path / name).shape == (8, 12, 3) == (*photo_size(tmp_path / name), 3)


# ------------------------------------------------------------------------------------------- refusals


def test_only_the_header_is_read_for_the_size_of_a_jpeg(tmp_path: Path) -> None:
    Image.fromarray(gradient(600, 800)).save(tmp_path / "a.jpg", exif=exif(6))
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:1000])
    assert photo_size(tmp_path / "a.jpg") == (800, 600)
    with pytest.raises(LpcamError, match=r"cannot read .*a\.jpg \(.*truncated.*\): replace the file"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_photo, photo_size])
def test_files_that_are_no_photos(tmp_path: Path, read: object) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "depth.ppm").write_bytes(b"P5\n2 2\n99999999\n....")
    for name in ("text.jpg", "empty.png", "folder.png", "depth.ppm"):
        with pytest.raises(LpcamError, match=rf"cannot read .*{name}.*: replace the file or take it off the list"):
            read(tmp_path / name)
    with pytest.raises(LpcamError, match=r"none\.jpg does not exist"):
        read(tmp_path / "none.jpg")


def test_a_reason_without_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(LpcamError, match=r"a\.png \(MemoryError\)"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_photo, photo_size])
@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow warns of the first and refuses the second itself
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, read: object, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(LpcamError, match=r"a\.png is too large \(.*89478485 pixels.*\): scale it down"):
        read(tmp_path / "a.png")


def test_our_limit_does_not_hang_on_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(photos, "MAX_PIXELS", 99)
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    with pytest.raises(LpcamError, match="10×10 pixels; at most 99 pixels"):
        read_photo(tmp_path / "a.png")
    monkeypatch.setattr(photos, "MAX_PIXELS", 100)
    assert read_photo(tmp_path / "a.png").shape == (10, 10, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "BMP"]), st.data())
def test_damage_gives_pixels_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.jpg"  # Pillow looks at the content, not at the suffix
    Image.fromarray(gradient()).save(path, format=kind, exif=exif(6))
    damaged = bytearray(path.read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4)):
        damaged[place % len(damaged)] = value
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    try:
        pixels = read_photo(path)
    except LpcamError as error:
        message = str(error)
    else:
        assert pixels.shape == (*photo_size(path), 3)
        message = ""
    assert "\n" not in message


# ---------------------------------------------------------------------------------------------- masks


def photo_with_mask(
    folder: Path, mask: Image.Image, orientation: int = 1, size: tuple[int, int] = (2, 3), **options: object
) -> Photo:
    Image.new("RGB", size).save(folder / "a.jpg", exif=exif(orientation))
    mask.save(folder / "a.png", **options)
    return Photo("a", folder / "a.jpg", (), folder / "a.png")


def test_palette_indices_count_and_colours_do_not(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [20, 255], [3, 3]], np.uint8)
    mask = Image.fromarray(indices)
    mask.putpalette([7] * 768)
    for image, options in ((mask, {}), (mask, {"transparency": 0}), (Image.fromarray(indices), {})):
        read = read_mask(photo_with_mask(tmp_path, image, **options), 20)
        assert read.tolist() == indices.tolist()
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
    assert mask_labels(tmp_path / "a.png", 20) == (0, 2, 19)


def test_one_bit_masks_are_background_and_the_first_class(tmp_path: Path) -> None:
    photo = photo_with_mask(tmp_path, Image.fromarray(np.array([[True, False]] * 3)))
    assert read_mask(photo, 1).tolist() == [[1, 0]] * 3


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_mask_of_the_stored_size_turns_with_its_photo(tmp_path: Path, orientation: int) -> None:
    photo = photo_with_mask(tmp_path, Image.fromarray(STORED), orientation)
    assert read_mask(photo).tolist() == UPRIGHT[orientation]
    assert read_mask(photo).shape == read_photo(photo.path).shape[:2]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_upright_size_stays(tmp_path: Path, orientation: int) -> None:
    upright = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert read_mask(photo_with_mask(tmp_path, Image.fromarray(upright), orientation)).tolist() == upright.tolist()


@pytest.mark.parametrize(("size", "orientation"), [((3, 2), 1), ((3, 2), 3), ((2, 2), 6), ((4, 6), 1)])
def test_masks_of_another_size_are_refused(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    photo = photo_with_mask(tmp_path, Image.new("L", size), orientation)
    with pytest.raises(LpcamError, match=rf"a\.png is {size[0]}×{size[1]} but its photo .*a\.jpg is 2×3.*: make"):
        read_mask(photo)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_masks_that_are_not_of_indices_are_refused(tmp_path: Path, mode: str) -> None:
    photo = photo_with_mask(tmp_path, Image.new(mode, (2, 3)))
    with pytest.raises(LpcamError, match=f"is an image of mode {mode}, not of class indices: save"):
        read_mask(photo)
    with pytest.raises(LpcamError, match="not of class indices"):
        mask_labels(tmp_path / "a.png", 20)


@pytest.mark.parametrize("value", [6, 254])
def test_values_that_are_no_classes_are_refused(tmp_path: Path, value: int) -> None:
    photo = photo_with_mask(tmp_path, Image.fromarray(np.array([[0, 5], [value, 255], [0, 0]], np.uint8)))
    assert read_mask(photo).max() == 255
    assert read_mask(photo, 254).max() == 255
    for read in (lambda: read_mask(photo, 5), lambda: mask_labels(tmp_path / "a.png", 5)):
        with pytest.raises(LpcamError, match=rf"has the value {value}, but there are 5 classes"):
            read()


def test_absent_and_damaged_masks_are_refused(tmp_path: Path) -> None:
    photo = photo_with_mask(tmp_path, Image.new("L", (2, 3)))
    with pytest.raises(LpcamError, match="photo b has no mask"):
        read_mask(Photo("b", photo.path, ()))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    with pytest.raises(LpcamError, match=r"cannot read .*a\.png"):
        read_mask(photo)


def test_a_mask_without_classes_has_no_labels(tmp_path: Path) -> None:
    photo_with_mask(tmp_path, Image.fromarray(np.array([[0, 255]] * 3, np.uint8)))
    assert mask_labels(tmp_path / "a.png", 1) == ()
