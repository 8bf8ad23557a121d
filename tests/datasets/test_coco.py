"""lpcam.datasets.coco: the layouts COCO users keep, both spellings of a photo, labels and masks by hand."""

from __future__ import annotations

import csv
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lpcam.datasets import open_split, read_mask
from lpcam.datasets.coco import open_coco
from lpcam.datasets.instances import InstanceMasks, read_instances
from lpcam.errors import LpcamError
from lpcam.pickles import save_dictionary
from lpcam.records import Photo

from .conftest import save_mask, save_photo

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
CLASSES = ("person", "dog", "toothbrush")
SQUARE = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]  # pixels 1..3 × 1..2 of a 6 × 4 photo
ONE_PIXEL = [2.0, 1.0, 3.0, 1.0, 3.0, 2.0, 2.0, 2.0]
TOP_ROW = {"size": [4, 6], "counts": [0, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]}  # of every column the first pixel


def old(number: int) -> str:
    return f"COCO_train2014_{number:012d}"


def new(number: int) -> str:
    return f"{number:012d}"


def annotation(image: int, category: int, segmentation: object = None, area: float = 6, crowd: int = 0) -> dict:
    outline = [SQUARE] if segmentation is None else segmentation
    return {"image_id": image, "category_id": category, "segmentation": outline, "area": area, "iscrowd": crowd}


ANNOTATIONS = [
    annotation(9, 18, [ONE_PIXEL], area=1),
    annotation(9, 90),
    annotation(9, 1, TOP_ROW, area=6, crowd=1),
    annotation(30, 18),
    annotation(30, 18),
]


def content(name: Callable[[int], str] = old) -> dict[str, Any]:
    images = [{"id": number, "file_name": f"{name(number)}.jpg", "height": 4, "width": 6} for number in (30, 9, 25)]
    return {"info": {}, "images": images, "annotations": list(ANNOTATIONS), "categories": list(CATEGORIES)}


def write(root: Path, value: object, split: str = "train2014") -> Path:
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "coco", content())
    for number in (9, 25, 30):
        save_photo(tmp_path / "coco" / "train2014" / f"{old(number)}.jpg")
    return tmp_path / "coco"


def test_a_split_by_hand(root: Path) -> None:
    split = open_split("coco", root, "train2014")
    assert (split.dataset, split.split, split.classes, split.notices) == ("coco", "train2014", CLASSES, ())
    found = [(photo.name, photo.path, photo.labels) for photo in split.photos]
    assert found == [
        (old(9), root / "train2014" / f"{old(9)}.jpg", (0, 1, 2)),  # the crowd's class is one of its labels
        (old(25), root / "train2014" / f"{old(25)}.jpg", ()),
        (old(30), root / "train2014" / f"{old(30)}.jpg", (1,)),
    ]


@pytest.mark.parametrize("folder", ["train2014", "images/train2014", "images", "JPEGImages", ".", "val2017"])
@pytest.mark.parametrize("name", [old, new])
def test_photos_where_users_keep_them_under_either_name(tmp_path: Path, folder: str, name: Callable) -> None:
    write(tmp_path, content())
    for number in (9, 25, 30):
        save_photo(tmp_path / folder / f"{name(number)}.jpg")
    split = open_coco(tmp_path, "train2014")
    assert [photo.name for photo in split.photos] == [old(9), old(25), old(30)]
    assert [photo.path for photo in split.photos] == [tmp_path / folder / f"{name(i)}.jpg" for i in (9, 25, 30)]


@pytest.mark.parametrize("name", [old, new])
def test_a_list_chooses_photos_and_their_names(root: Path, tmp_path: Path, name: Callable) -> None:
    write(root, {**content(new), "images": [], "annotations": []}, split="train2017")
    (root / "few.txt").write_text(f"{name(30)}\n{name(9)}\n")
    for split in ("few", str(root / "few.txt")):
        opened = open_coco(root, split)
        assert opened.split == "few"
        assert [(photo.name, photo.labels) for photo in opened.photos] == [(name(30), (1,)), (name(9), (0, 1, 2))]


def test_a_list_may_span_two_files(root: Path) -> None:
    value = content(new)
    value["images"] = [{"id": 42, "file_name": f"{new(42)}.jpg", "height": 4, "width": 6}]
    value["annotations"] = [annotation(42, 90)]
    write(root, value, split="val2017")
    save_photo(root / "val2017" / f"{new(42)}.jpg")
    (root / "both.txt").write_text(f"{new(42)}\n{old(9)}\n")
    opened = open_coco(root, "both")
    assert [(photo.name, photo.labels) for photo in opened.photos] == [(new(42), (2,)), (old(9), (0, 1, 2))]
    assert read_mask(opened.photos[0], 3)[1, 1] == 3


def test_a_json_by_its_path_and_names_that_are_no_numbers(root: Path, tmp_path: Path) -> None:
    value = content()
    value["images"] = [{"id": 9, "file_name": "a/kitchen.jpg", "height": 4, "width": 6}]
    value["annotations"] = ANNOTATIONS[:2]
    path = write(tmp_path / "x", value, split="own")
    save_photo(root / "images" / "kitchen.jpg")
    [photo] = open_coco(root, str(path)).photos
    assert (photo.name, photo.path, photo.labels) == ("kitchen", root / "images" / "kitchen.jpg", (1, 2))


@pytest.mark.parametrize("name", [old, new, lambda number: f"{old(number)}.jpg"])
def test_other_labels_in_either_spelling(root: Path, tmp_path: Path, name: Callable) -> None:
    (tmp_path / "l.csv").write_text(f"name,classes\n{name(9)},dog\n{name(25)},\n{name(30)},0;2\n")
    save_dictionary(tmp_path / "l.npy", {name(n): np.eye(3)[n % 3] for n in (9, 25, 30)})
    save_dictionary(tmp_path / "numbers.npy", {n: np.eye(3)[n % 3] for n in (9, 25, 30)})
    found = {
        file: [photo.labels for photo in open_coco(root, "train2014", labels=tmp_path / file).photos]
        for file in ("l.csv", "l.npy", "numbers.npy")
    }
    assert found == {"l.csv": [(1,), (), (0, 2)], "l.npy": [(0,), (1,), (0,)], "numbers.npy": [(0,), (1,), (0,)]}
    (tmp_path / "l.csv").write_text(f"name,classes\n{old(9)},dog\n{new(9)},\n{name(25)},\n{name(30)},0;2\n")
    with pytest.raises(LpcamError, match=r"has one photo as .* and as .*: remove one line"):
        open_coco(root, "train2014", labels=tmp_path / "l.csv")


def test_a_file_of_classes_chooses_and_orders_them(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="draws COCO's masks")
    (tmp_path / "c.txt").write_text("toothbrush\nperson\n")
    split = open_coco(root, "train2014", classes=tmp_path / "c.txt")
    assert split.classes == ("toothbrush", "person")
    assert [photo.labels for photo in split.photos] == [(0, 1), (), ()]
    assert read_mask(split.photos[0], 2).tolist() == [[255] * 6, [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0] * 6]
    (tmp_path / "c.txt").write_text("dgo\n")
    with pytest.raises(LpcamError, match=r"c\.txt: unknown class 'dgo': did you mean 'dog'"):
        open_coco(root, "train2014", classes=tmp_path / "c.txt")


# --------------------------------------------------------------------------------------------- masks


def test_masks_by_hand_small_things_on_large_ones_and_crowds_behind_all(root: Path) -> None:
    pytest.importorskip("pycocotools", reason="draws COCO's masks")
    masks = [read_mask(photo, 3) for photo in open_coco(root, "train2014").photos]
    assert masks[0].dtype == np.uint8
    assert masks[0].tolist() == [[255] * 6, [0, 3, 2, 3, 0, 0], [0, 3, 3, 3, 0, 0], [0] * 6]
    assert masks[1].tolist() == [[0] * 6] * 4
    assert masks[2].tolist() == [[0] * 6, [0, 2, 2, 2, 0, 0], [0, 2, 2, 2, 0, 0], [0] * 6]


def test_a_crowd_does_not_hide_a_thing(root: Path) -> None:
    pytest.importorskip("pycocotools", reason="draws COCO's masks")
    everywhere = {"size": [4, 6], "counts": [0, 24]}
    write(root, {**content(), "annotations": [annotation(30, 18), annotation(30, 1, everywhere, area=1, crowd=1)]})
    mask = read_mask(open_coco(root, "train2014").photos[2], 3)
    assert (mask == 2).sum() == 6
    assert (mask == 255).sum() == 18


def test_compressed_run_lengths_and_polygons_in_parts(root: Path) -> None:
    codec = pytest.importorskip("pycocotools.mask", reason="draws COCO's masks")
    square = np.zeros((4, 6), np.uint8, order="F")
    square[1:3, 1:4] = 1
    runs = codec.encode(square)
    compressed = {"size": [4, 6], "counts": runs["counts"].decode()}
    parts = [[1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 2.0], [4.0, 2.0, 5.0, 2.0, 5.0, 3.0, 4.0, 3.0]]
    write(root, {**content(), "annotations": [annotation(9, 18, compressed), annotation(30, 1, parts)]})
    photos = open_coco(root, "train2014").photos
    assert (read_mask(photos[0], 3) == 2 * square).all()
    assert read_mask(photos[2], 3).tolist() == [[0] * 6, [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0] * 6]


def test_masks_of_a_folder_come_before_drawings(root: Path, tmp_path: Path) -> None:
    save_mask(tmp_path / "m" / f"{new(9)}.png", [3])
    found = [photo.mask for photo in open_coco(root, "train2014", masks=tmp_path / "m").photos]
    assert found == [tmp_path / "m" / f"{new(9)}.png", None, None]
    with pytest.raises(LpcamError, match="has no mask of these photos"):
        open_coco(root, "train2014", masks=root / "train2014")


def test_a_mask_of_another_size_than_its_photo_is_named(root: Path) -> None:
    save_photo(root / "train2014" / f"{old(25)}.jpg", size=(5, 5))
    with pytest.raises(LpcamError, match=r"the mask of image 25 in .*json is 6×4 but its photo .* is 5×5"):
        read_mask(open_coco(root, "train2014").photos[1], 3)


def test_without_pycocotools_labels_are_there_and_masks_say_what_to_install(root: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    split = open_coco(root, "train2014")
    assert split.photos[0].labels == (0, 1, 2)
    with pytest.raises(LpcamError, match=r"pip install 'lpcam\[coco\]', or give masks as PNG by --masks"):
        read_mask(split.photos[0], 3)


def test_photos_travel_to_other_processes_without_their_outlines(root: Path) -> None:
    pytest.importorskip("pycocotools", reason="draws COCO's masks")
    photos = open_coco(root, "train2014").photos
    mask = read_mask(photos[0], 3)
    payload = pickle.dumps(photos[0])
    assert len(payload) < 1000
    there: Photo = pickle.loads(payload)
    assert there == photos[0]
    assert (read_mask(there, 3) == mask).all()


# ---------------------------------------------------------------------------------- what is refused


def without(section: str, key: str) -> dict[str, Any]:
    value = json.loads(json.dumps(content()))
    del value[section][0][key]
    return value


def changed(section: str, **entries: object) -> dict[str, Any]:
    value = json.loads(json.dumps(content()))
    value[section][0] |= entries
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "Expecting value"),
        (json.dumps(content())[:-200], "no whole instances JSON"),
        ('{"images": [NaN]}', "it holds NaN"),
        ("[" * 100_000, "no whole instances JSON"),
        ("[]", "it is no JSON object"),
        ({**content(), "annotations": None}, "it has no list 'annotations'"),
        ({"images": [], "categories": CATEGORIES}, "it has no list 'annotations'"),
        ({**content(), "categories": []}, "its categories have no names of their own"),
        (changed("categories", name="person"), "its categories have no names of their own"),
        (changed("categories", id=1), "'categories' has id 1 twice"),
        (without("images", "id"), "entry 0 of 'images' has no id"),
        (without("images", "file_name"), "image 30 has no file_name"),
        (changed("images", file_name="..jpg"), "is no photo's name"),
        (changed("images", file_name=f"{old(9)}.jpg"), "two of one file name"),
        (changed("images", id=True), "entry 0 of 'images' has no id"),
        (without("annotations", "image_id"), "an annotation has no image_id"),
        (without("annotations", "segmentation"), "entry 0 of 'annotations' has no segmentation"),
        (changed("annotations", category_id="18"), "an annotation has no category_id"),
        (changed("annotations", image_id=31), "entry 0 of 'annotations' is of image 31, which is not among"),
        (changed("annotations", category_id=2), "entry 0 of 'annotations' is of category 2, which is not among"),
        ({**content(), "images": [], "annotations": []}, "has no images"),
    ],
)
def test_broken_files_are_one_line(root: Path, value: object, reason: str) -> None:
    write(root, value)
    with pytest.raises(LpcamError, match=reason) as raised:
        open_coco(root, "train2014")
    assert "\n" not in str(raised.value)
    assert "instances_train2014.json" in str(raised.value)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1.0, 1.0, 2.0, 2.0]], "a polygon of 4 numbers"),
        ([[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0]], "a polygon of 7 numbers"),
        ([[1.0, 1.0, 2.0, 2.0, 3.0, 1e12]], "a polygon far outside"),
        ([["a"]], "neither polygons nor RLE"),
        (7, "neither polygons nor RLE"),
        ({"size": [6, 4], "counts": [24]}, r"run lengths of size \[6, 4\]"),
        ({"size": [4, 6], "counts": [23]}, "run lengths of 23 pixels for 24"),
        ({"size": [4, 6], "counts": [-1, 25]}, "run lengths that are not counts"),
        ({"size": [4, 6]}, "run lengths that are not counts"),
    ],
)
def test_outlines_that_are_none(root: Path, segmentation: object, reason: str) -> None:
    write(root, {**content(), "annotations": [annotation(9, 18, segmentation)]})
    with pytest.raises(LpcamError, match=reason):
        read_mask(open_coco(root, "train2014").photos[0], 3)


def test_sizes_are_needed_for_masks_only(root: Path) -> None:
    write(root, without("images", "width"))
    split = open_coco(root, "train2014")
    with pytest.raises(LpcamError, match="image 30 has no height and width"):
        read_mask(split.photos[0], 3)


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LpcamError, match="unknown split 'train2015': did you mean 'train2014'"):
        open_coco(root, "train2015")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LpcamError, match=r"has no annotations/instances_<split>\.json: get COCO's annotations"):
        open_coco(tmp_path / "empty", "train2014")
    with pytest.raises(LpcamError, match=r"cannot read .*nowhere\.json .*: get COCO's annotations"):
        open_coco(root, str(tmp_path / "nowhere.json"))
    (root / "few.txt").write_text(f"{old(9)}\n{old(8)}\n")
    with pytest.raises(LpcamError, match=f"lists 1 of 2 photos that no instances file .* the first is '{old(8)}'"):
        open_coco(root, "few")
    (root / "few.txt").write_text(f"{old(9)}\n{new(9)}\n")
    with pytest.raises(LpcamError, match="lists a photo twice, spelled in two ways"):
        open_coco(root, "few")
    (root / "train2014" / f"{old(9)}.jpg").unlink()
    with pytest.raises(LpcamError, match=f"lacks 1 of 3 photos, the first is '{old(9)}'"):
        open_coco(root, "train2014")


def test_a_file_that_changed_is_read_again(root: Path) -> None:
    path = write(root, content())
    assert read_instances(path) is read_instances(path)
    write(root, {**content(), "annotations": []})
    assert open_coco(root, "train2014").photos[0].labels == ()


# -------------------------------------------------------------------------------------- the real JSON


VOC_NAMES = {  # the names COCO gives to VOC's classes, where they differ
    "airplane": "aeroplane",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}


@pytest.fixture
def real_coco(real_data: Path, tmp_path: Path) -> tuple[Path, Path, tuple[str, ...]]:
    """The folder, a file that chooses VOC's classes among COCO's, and VOC's names."""
    from lpcam.datasets.voc import VOC_CLASSES

    coco_names = {voc: coco for coco, voc in VOC_NAMES.items()}
    (tmp_path / "voc.txt").write_text("\n".join(coco_names.get(name, name) for name in VOC_CLASSES))
    return real_data / "data/coco20", tmp_path / "voc.txt", VOC_CLASSES


@pytest.mark.real
def test_all_real_labels_are_those_of_the_table(real_coco: tuple[Path, Path, tuple[str, ...]]) -> None:
    root, classes, names = real_coco
    with (root / "labels.csv").open() as file:
        table = {row["name"]: set(filter(None, row["classes"].split(";"))) for row in csv.DictReader(file)}
    opened = open_coco(root, "instances", classes=classes)
    assert len(opened.photos) == 310
    assert {photo.name: {names[label] for label in photo.labels} for photo in opened.photos} == table
    assert len(open_coco(root, "novoc").photos) == 40
    assert len(open_coco(root, "novoc").classes) == 80


@pytest.mark.real
def test_real_masks_equal_the_given_ones_in_every_pixel(real_coco: tuple[Path, Path, tuple[str, ...]]) -> None:
    pytest.importorskip("pycocotools", reason="draws COCO's masks")
    root, classes, _ = real_coco
    for photo in open_coco(root, "instances", classes=classes).photos[::4]:
        given = np.asarray(Image.open(root / "SegmentationClass" / f"{photo.name}.png"))
        assert (read_mask(photo, 20) == given).all(), photo.name


def test_drawings_of_one_file_are_equal_whoever_opened_it(root: Path) -> None:
    path = root / "annotations/instances_train2014.json"
    assert InstanceMasks(path, (1, 18)) == InstanceMasks(path, (1, 18)) != InstanceMasks(path, (18, 1))
