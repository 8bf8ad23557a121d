"""lpcam.datasets.folder: a folder of photos and a table of labels."""

from pathlib import Path

import numpy as np
import pytest

from lpcam.datasets.folder import open_folder
from lpcam.errors import LpcamError
from lpcam.pickles import save_dictionary
from lpcam.records import Photo

from .conftest import save_mask, save_photo

ROWS = "name,classes\nb,yak\na.png,zebu;ant\nc,\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "c.JPEG"):
        save_photo(tmp_path / "photos" / name)
    (tmp_path / "photos" / "labels.csv").write_text(ROWS)
    return tmp_path / "photos"


def test_all_photos_of_a_folder_sorted_with_classes_of_the_csv(root: Path) -> None:
    split = open_folder(root, "all")
    assert (split.dataset, split.split, split.classes, split.notices) == ("folder", "all", ("ant", "yak", "zebu"), ())
    assert split.photos == (
        Photo("a", root / "a.png", (0, 2)),
        Photo("b", root / "b.jpg", (1,)),
        Photo("c", root / "c.JPEG", ()),
    )


def test_lists_choose_photos_and_keep_the_classes(root: Path, tmp_path: Path) -> None:
    (root / "val.txt").write_text("c\nb.jpg\n")
    split = open_folder(root, "val")
    assert [photo.name for photo in split.photos] == ["c", "b"]
    assert split.classes == ("ant", "yak", "zebu")
    (tmp_path / "other.txt").write_text("a\n")
    assert open_folder(root, str(tmp_path / "other.txt")).split == "other"
    (root / "all.txt").write_text("b\n")
    assert [photo.name for photo in open_folder(root, "all").photos] == ["b"]
    with pytest.raises(LpcamError, match="unknown split 'vall': did you mean 'val'"):
        open_folder(root, "vall")


def test_the_folders_own_path_is_not_looked_up_for_every_photo(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: asked.append(path) or resolve(path))
    open_folder(root)
    few = len(asked)
    for index in range(20):
        save_photo(root / f"more{index}.png")
    with (root / "labels.csv").open("a") as table:
        table.writelines(f"more{index},yak\n" for index in range(20))
    asked.clear()
    assert len(open_folder(root).photos) == 23
    assert len(asked) == few


def test_other_labels_and_other_classes(root: Path, tmp_path: Path) -> None:
    save_dictionary(tmp_path / "cls_labels.npy", {name: np.array([0, 1]) for name in "abc"})
    (tmp_path / "classes.txt").write_text("x\ny\n")
    split = open_folder(root, labels=tmp_path / "cls_labels.npy", classes=tmp_path / "classes.txt")
    assert split.classes == ("x", "y")
    assert [photo.labels for photo in split.photos] == [(1,)] * 3
    with pytest.raises(LpcamError, match=r"cls_labels\.npy has no class names: pass --classes"):
        open_folder(root, labels=tmp_path / "cls_labels.npy")


def test_masks_lie_in_a_sibling_folder_or_where_said(root: Path, tmp_path: Path) -> None:
    save_mask(tmp_path / "masks" / "a.png", [1])
    save_mask(tmp_path / "truth" / "b.png", [1])
    assert [photo.mask for photo in open_folder(root).photos] == [tmp_path / "masks" / "a.png", None, None]
    chosen = open_folder(root, masks=tmp_path / "truth")
    assert [photo.mask for photo in chosen.photos] == [None, tmp_path / "truth" / "b.png", None]


def test_labels_from_masks_need_classes_and_are_said(root: Path, tmp_path: Path) -> None:
    (root / "labels.csv").unlink()
    (tmp_path / "classes.txt").write_text("x\ny\n")
    with pytest.raises(LpcamError, match=r"has no labels\.csv to take class names from: pass --labels or --classes"):
        open_folder(root)
    with pytest.raises(LpcamError, match=r"has no labels\.csv: pass --labels FILE, or --masks DIR"):
        open_folder(root, classes=tmp_path / "classes.txt")
    for name in "abc":
        save_mask(tmp_path / "masks" / f"{name}.png", [2])
    split = open_folder(root, classes=tmp_path / "classes.txt")
    assert [photo.labels for photo in split.photos] == [(1,)] * 3
    assert "taken from the masks" in split.notices[0]


@pytest.mark.parametrize("spelled", ["a__b", "a/b", "a/b.jpg", r"a\b.jpg", "./a/b.jpg", "photos/a/b.jpg"])
def test_photos_in_folders_of_the_folder(tmp_path: Path, spelled: str) -> None:
    root = tmp_path / "photos"
    for path in ("a/b.jpg", "b.jpg", ".hidden/c.jpg"):
        save_photo(root / path)
    save_mask(root / "masks" / "a" / "b.png", [1])
    save_mask(root / "masks" / "b.png", [1])
    (tmp_path / "l.csv").write_text(f"{spelled},yak\r\nb.jpg,\r\n")
    for split in ("all", "few"):
        found = open_folder(root, split, labels=tmp_path / "l.csv")
        assert found.photos == (
            Photo("a__b", root / "a" / "b.jpg", (0,), root / "masks" / "a" / "b.png"),
            Photo("b", root / "b.jpg", (), root / "masks" / "b.png"),
        )
        (root / "few.txt").write_text(f"{spelled}\nb\n")
    flat = tmp_path / "flat"
    save_mask(flat / "a__b.png", [1])
    assert open_folder(root, labels=tmp_path / "l.csv", masks=flat).photos[0].mask == flat / "a__b.png"


def test_two_photos_of_one_flat_name(tmp_path: Path) -> None:
    save_photo(tmp_path / "p" / "a" / "b.jpg")
    save_photo(tmp_path / "p" / "a__b.jpg")
    with pytest.raises(LpcamError, match="names must be unique"):
        open_folder(tmp_path / "p")


def test_folders_and_photos_that_are_missing_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LpcamError, match="does not exist: pass the data set's folder"):
        open_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LpcamError, match="holds no photos: pass the folder they lie in"):
        open_folder(tmp_path / "empty")
    save_photo(root / "d.jpg")
    with pytest.raises(LpcamError, match=r"labels\.csv has no labels for 1 of 4 photos, the first is 'd'"):
        open_folder(root)
    save_photo(root / "e\\f.jpg")
    with pytest.raises(LpcamError, match="is no photo's name"):
        open_folder(root)
