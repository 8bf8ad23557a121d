"""lpcam.datasets.photos: what a photo costs at most, and what is never opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpcam.datasets.lists import LONGEST_NAME
from lpcam.datasets.photos import MAX_PIXELS, photo_size, read_photo
from lpcam.errors import LpcamError
from tests.torture.strangers import images

ROOT = Path(__file__).parents[2]
SIDE = 9400  # just below the limit
MEASURE = """
import sys
from pathlib import Path
from lpcam.datasets import read_photo
from lpcam.datasets.photos import mask_labels

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

taken = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
if sys.argv[2] == "mask":
    assert mask_labels(Path(sys.argv[1]), 254)
else:
    assert read_photo(Path(sys.argv[1])).shape[2] == 3
print(status("VmHWM") - taken)
"""


def gradient() -> np.ndarray:
    return np.add.outer(np.arange(SIDE) % 254, np.zeros(SIDE, np.uint8)).astype(np.uint8)


def palette() -> Image.Image:
    image = Image.fromarray(gradient())
    image.putpalette(list(range(256)) * 3)
    return image


LARGEST = {
    "palette.png": lambda path: palette().save(path, transparency=3, compress_level=1),
    "deep.png": lambda path: Image.fromarray(gradient().astype(np.uint16) * 200).save(path, compress_level=1),
    "progressive.jpg": lambda path: Image.fromarray(gradient()).convert("RGB").save(path, progressive=True, quality=30),
    "mask.png": lambda path: palette().save(path, compress_level=1),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as on Linux")
@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_photo_takes_less_than_a_gigabyte(tmp_path, name):
    assert SIDE**2 <= MAX_PIXELS
    LARGEST[name](tmp_path / name)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / name), name.partition(".")[0]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2**30


def test_the_limits_are_stated_where_users_look():
    page = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    assert f"at most {MAX_PIXELS:,} pixels" in page
    assert f"at most {LONGEST_NAME} bytes" in page


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    return images(b"", tmp_path_factory.mktemp("canary") / "canary")


@pytest.mark.parametrize(
    "what",
    [
        "100,000 × 100,000",
        "2^31 wide",
        "a profile that is a bomb",
        "a text that is a bomb",
        "a hundred texts that are bombs",
        "a text in another language",
        "a large page",
        "a map of one bit",
    ],
)
def test_bombs_are_refused(tmp_path, bombs, what):
    (tmp_path / "a.jpg").write_bytes(bombs[what])
    with pytest.raises(LpcamError, match=r"a\.jpg .*(too large|text chunks|TEXT_CHUNK|: replace the file)"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("what", ["many frames", "many pages", "animated"])
def test_of_many_frames_the_first_is_read(tmp_path, bombs, what):
    (tmp_path / "a.jpg").write_bytes(bombs[what])
    assert read_photo(tmp_path / "a.jpg").shape == (8, 8, 3) == (*photo_size(tmp_path / "a.jpg"), 3)


@pytest.mark.parametrize("form", ["EPS", "ICO", "PCX", "TGA", "SGI", "DDS", "QOI", "PDF"])
@pytest.mark.parametrize("read", [read_photo, photo_size])
def test_what_else_pillow_reads_is_not_opened(tmp_path, form, read, monkeypatch):
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "a.jpg", form)

    def started(*_: object, **_options: object) -> None:
        raise AssertionError("another program was started")  # Ghostscript, for EPS

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(LpcamError, match=r"cannot read .*a\.jpg .*: replace the file or take it off the list"):
        read(tmp_path / "a.jpg")
