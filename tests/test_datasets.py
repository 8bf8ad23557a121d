"""lpcam.datasets: open_split, by hand and on the real photos (each layout has its own file in tests/datasets)."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context
from lpcam_cli.main import main
from PIL import Image

from lpcam.datasets import KINDS, open_split, photo_size, read_mask, read_photo
from lpcam.datasets.voc import VOC_CLASSES
from lpcam.errors import LpcamError
from lpcam.records import DataSplit


def test_kinds_are_dispatched_with_all_options(voc_root: Path, tmp_path: Path) -> None:
    options = {"labels": voc_root / "labels.csv", "classes": voc_root / "classes.txt"}
    masks = voc_root / "SegmentationClass"
    voc = open_split("voc", voc_root, "train", **options)
    folder = open_split("folder", voc_root / "JPEGImages", "all", **options, masks=masks)
    assert (voc.dataset, folder.dataset) == ("voc", "folder")
    assert voc.photos == folder.photos
    assert voc.classes == ("sheep", "train")


def test_an_unknown_kind_is_refused_with_the_nearest(tmp_path: Path) -> None:
    assert KINDS == ("coco", "demo", "folder", "voc")
    with pytest.raises(
        LpcamError, match=r"unknown data set 'foldr': did you mean 'folder'\? choose from coco, demo, fol"
    ):
        open_split("foldr", tmp_path, "train")


def test_importing_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, lpcam.datasets; heavy = {'torch', 'cv2', 'faiss', 'torchvision', 'lpcam.datasets.demo'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# ------------------------------------------------------------------------------------ the real photos


def opened(real_data: Path, folder: str, split: str, labels: str | None = None) -> DataSplit:
    root = real_data / "data" / folder
    return open_split("voc", root, split, labels=root / labels if labels else None)


SPLITS = [("voc_animals", "train", 437), ("voc_animals", "aug", 220), ("coco20", "train", 270), ("coco20", "novoc", 40)]


@pytest.mark.real
@pytest.mark.parametrize(("folder", "split", "count"), SPLITS)
def test_both_files_of_labels_say_the_same(real_data: Path, folder: str, split: str, count: int) -> None:
    from_csv = opened(real_data, folder, split, "labels.csv")
    from_npy = opened(real_data, folder, split, "cls_labels.npy")
    assert len(from_csv.photos) == count
    assert from_csv == from_npy
    assert from_csv.fingerprint == from_npy.fingerprint
    assert all(photo.mask and photo.mask.stem == photo.name == photo.path.stem for photo in from_csv.photos)
    assert any(photo.labels for photo in from_csv.photos) == (split != "novoc")


@pytest.mark.real
def test_real_labels_by_hand(real_data: Path) -> None:
    split = opened(real_data, "voc_animals", "train", "cls_labels.npy")
    counts = dict.fromkeys(VOC_CLASSES, 0)
    for photo in split.photos:
        for label in photo.labels:
            counts[split.classes[label]] += 1
    assert {name: counts[name] for name in ("cat", "dog", "horse", "sheep", "cow", "person")} == {
        "cat": 131, "dog": 121, "horse": 68, "sheep": 63, "cow": 62, "person": 79,
    }  # fmt: skip


@pytest.mark.real
def test_masks_agree_with_the_real_labels(real_data: Path) -> None:
    from_masks = opened(real_data, "voc_animals", "train")
    assert from_masks.photos == opened(real_data, "voc_animals", "train", "labels.csv").photos
    assert "taken from the masks" in from_masks.notices[0]


@pytest.mark.real
@pytest.mark.parametrize(("folder", "split"), [("voc_animals", "train"), ("voc_animals", "aug"), ("coco20", "train")])
def test_real_masks_fit_their_photos(real_data: Path, folder: str, split: str) -> None:
    for photo in opened(real_data, folder, split, "labels.csv").photos[::20]:
        pixels, mask = read_photo(photo.path), read_mask(photo, 20)
        assert pixels.shape == (*mask.shape, 3) == (*photo_size(photo.path), 3)
        with Image.open(photo.path) as image:
            assert (pixels == image.convert("RGB")).all()


# ------------------------------------------------------------------------------------------- the page


def commands_of_the_page() -> list[str]:
    text = (Path(__file__).parents[1] / "docs/datasets.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^ +(lpcam .*)$", text, re.MULTILINE)


def test_every_command_of_the_page_can_be_parsed() -> None:
    lines = commands_of_the_page()
    assert {line.split()[1] for line in lines} >= {"run", "import-prototypes", "import-features"}
    for line in lines:
        _, name, *arguments = shlex.split(line)
        command = main.get_command(Context(main), name)
        assert command is not None
        command.make_context(name, arguments)
