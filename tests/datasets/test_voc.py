"""lpcam.datasets.voc: the VOC layout."""

from pathlib import Path

import pytest

from lpcam.datasets.voc import VOC_CLASSES, open_voc
from lpcam.errors import LpcamError
from lpcam.records import Photo

from .conftest import VocTree, save_annotation, save_mask

CAT, DOG = VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog")


def test_vocs_classes_in_vocs_order() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)
    assert (VOC_CLASSES[0], VOC_CLASSES[14], VOC_CLASSES[19]) == ("aeroplane", "person", "tvmonitor")


def test_a_tree_without_annotations_takes_labels_from_masks_and_says_so(voc_tree: VocTree) -> None:
    root = voc_tree(["b", "a"], masks={"a": [DOG + 1, 255], "b": [0]})
    split = open_voc(root, "train")
    photos, masks = root / "JPEGImages", root / "SegmentationClass"
    assert split.photos == (
        Photo("b", photos / "b.jpg", (), masks / "b.png"),
        Photo("a", photos / "a.jpg", (DOG,), masks / "a.png"),
    )
    assert (split.dataset, split.split, split.classes) == ("voc", "train", VOC_CLASSES)
    [notice] = split.notices
    assert "taken from the masks" in notice
    assert "--labels" in notice


def test_annotations_come_before_masks_and_given_labels_before_both(voc_tree: VocTree, tmp_path: Path) -> None:
    root = voc_tree(["a"], masks={"a": [1]})
    save_annotation(root / "Annotations" / "a.xml", "<object><name>cat</name></object>")
    split = open_voc(root, "train")
    assert split.photos[0].labels == (CAT,)
    assert split.notices == ()
    (tmp_path / "l.csv").write_text("name,classes\na,dog\n")
    split = open_voc(root, "train", labels=tmp_path / "l.csv")
    assert split.photos[0].labels == (DOG,)
    assert split.notices == ()


def test_lists_in_main_and_by_path_serve_too(voc_tree: VocTree, tmp_path: Path) -> None:
    root = voc_tree(["a", "b", "c"], masks={name: [1] for name in "abc"})
    (root / "ImageSets" / "Main").mkdir()
    (root / "ImageSets" / "Main" / "val.txt").write_text("c\n")
    (tmp_path / "irn.txt").write_text("/JPEGImages/b.jpg /SegmentationClass/b.png\r\n")
    for split, name, label in (("val", "c", "val"), (str(tmp_path / "irn.txt"), "b", "irn")):
        opened = open_voc(root, split)
        assert [photo.name for photo in opened.photos] == [name]
        assert opened.split == label


def test_own_classes_and_own_masks(voc_tree: VocTree, tmp_path: Path) -> None:
    root = voc_tree(["a", "b"], masks={"a": [7]})
    save_mask(root / "SegmentationClassAug" / "a.png", [2])
    (tmp_path / "classes.txt").write_text("zebu\nyak\n")
    (tmp_path / "l.csv").write_text("name,classes\na,yak\nb,0\n")
    split = open_voc(
        root,
        "train",
        labels=tmp_path / "l.csv",
        classes=tmp_path / "classes.txt",
        masks=root / "SegmentationClassAug",
    )
    assert split.classes == ("zebu", "yak")
    assert [photo.labels for photo in split.photos] == [(1,), (0,)]
    assert [photo.mask for photo in split.photos] == [root / "SegmentationClassAug" / "a.png", None]


def test_no_photo_is_decoded(voc_tree: VocTree) -> None:
    root = voc_tree(["a"], masks={"a": [1]})
    (root / "JPEGImages" / "a.jpg").write_bytes(b"not an image")
    assert open_voc(root, "train").photos[0].labels == (0,)


def test_folders_that_are_missing_are_named(voc_tree: VocTree, tmp_path: Path) -> None:
    root = voc_tree(["a"])
    with pytest.raises(LpcamError, match=r"folder .*nowhere does not exist"):
        open_voc(tmp_path / "nowhere", "train")
    with pytest.raises(LpcamError, match=rf"has no folder JPEGImages: did you mean {root}\?"):
        open_voc(tmp_path, "train")
    with pytest.raises(LpcamError, match="has no folder JPEGImages: pass the folder that holds it as --root"):
        open_voc(root / "ImageSets", "train")
    with pytest.raises(LpcamError, match="has neither Annotations nor masks of this split: pass --labels FILE"):
        open_voc(root, "train")
    with pytest.raises(LpcamError, match=r"unknown split 'val': .*choose from train"):
        open_voc(root, "val")


def test_names_without_a_photo_are_named(voc_tree: VocTree) -> None:
    root = voc_tree(["a", "b"], masks={"a": [1], "b": [1]})
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(LpcamError, match=r"train\.txt lists 1 of 2 names without a photo, the first is 'b'"):
        open_voc(root, "train")
