"""lpcam.datasets.labels: image-level labels from CSV, cls_labels.npy, XML and masks."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpcam.datasets.labels import (
    _require_all,
    classes_of_csv,
    labels_from_masks,
    labels_from_xml,
    read_classes,
    read_labels,
)
from lpcam.datasets.voc import VOC_CLASSES
from lpcam.errors import LpcamError
from lpcam.pickles import save_dictionary

from .conftest import save_annotation, save_mask

CLASSES = ("cat", "cow", "dog")


def photos(*names: str) -> dict[str, Path]:
    return {name: Path(f"p/{name}.jpg") for name in names}


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


# -------------------------------------------------------------------------------------------- classes


def test_class_names_keep_their_order(tmp_path: Path) -> None:
    text = "\ufefftench, Tinca tinca\r\ncat\r\n\r\n"
    assert read_classes(written(tmp_path, text, "c.txt")) == ("tench, Tinca tinca", "cat")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no classes: write"),
        ("\n \n", "names no classes"),
        ("cat\n\ndog\n", "line 2: empty between class names"),
        ("crane\ncat\ncrane\n", "has 'crane' in lines 1 and 3: make the names unique"),
        ("__background__\ncat\n", "begins with the background, which is no class here: remove its first line"),
        ("Background\ncat\n", "begins with the background"),
    ],
)
def test_bad_class_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(LpcamError, match=rf"c\.txt.*{reason}"):
        read_classes(written(tmp_path, text, "c.txt"))


def test_class_names_of_a_csv_are_sorted(tmp_path: Path) -> None:
    assert classes_of_csv(written(tmp_path, "name,classes\na,dog;cat\nb,\nc,cow;dog\n"), {}) == CLASSES
    for text in ("name,classes\na,dog;3\n", "name,classes\na,\n"):
        with pytest.raises(LpcamError, match="gives no names for its classes: pass --classes FILE"):
            classes_of_csv(written(tmp_path, text), {})
    with pytest.raises(LpcamError, match=r"l\.npy has no class names: pass --classes FILE"):
        classes_of_csv(tmp_path / "l.npy", {})


def test_a_first_line_is_a_header_or_a_photo_and_never_a_class_by_mistake(tmp_path: Path) -> None:
    for header in ("Image,Labels\n", "file_name,class\r\n", ""):
        path = written(tmp_path, f"{header}a.jpg,dog;cat\nb.jpg,cow\n")
        assert classes_of_csv(path, photos("a", "b")) == CLASSES
        assert read_labels(path, photos("b"), CLASSES) == {"b": (1,)}
    with pytest.raises(LpcamError, match="does not begin with the line 'name,classes'"):
        classes_of_csv(written(tmp_path, "Foto,Klassen\na,dog\n"), photos("a"))
    path = written(tmp_path, "name,classes\nimage,cat\n")
    assert read_labels(path, photos("image"), CLASSES) == {"image": (0,)}
    path = written(tmp_path, "name,class\nb,cow\n")
    assert read_labels(path, photos("name", "b"), ("class", "cow")) == {"name": (0,), "b": (1,)}


def test_classes_joined_by_another_mark_are_no_class(tmp_path: Path) -> None:
    for joined in ('"dog,cat"', "dog|cat"):
        path = written(tmp_path, f"name,classes\na,{joined}\nb,dog\nc,cat\n")
        with pytest.raises(LpcamError, match="in one, and each of them alone: join classes by ';'"):
            classes_of_csv(path, photos("a", "b", "c"))
    path = written(tmp_path, 'name,classes\na,"tench, Tinca tinca"\n')
    assert classes_of_csv(path, photos("a")) == ("tench, Tinca tinca",)


# ------------------------------------------------------------------------------------------------ CSV


def test_csv_by_hand(tmp_path: Path) -> None:
    text = '\ufeffName, Classes\r\n"a","dog;cat"\r\n\r\nb, 2 ;cow;cow; \r\nc.jpg,\r\nunlisted,unicorn\r\n'
    labels = read_labels(written(tmp_path, text), photos("b", "a", "c"), CLASSES)
    assert labels == {"a": (0, 2), "b": (1, 2), "c": ()}
    assert list(labels) == ["b", "a", "c"]


def test_a_class_may_be_called_by_a_number(tmp_path: Path) -> None:
    path = written(tmp_path, "name,classes\na,1;0\n")
    assert read_labels(path, photos("a"), ("zero", "x", "0")) == {"a": (1, 2)}


WORD = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=";/\\."), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.lists(WORD, min_size=1, max_size=6, unique=True), st.lists(WORD, max_size=6, unique=True))
def test_csv_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, classes: list[str], names: list[str]
) -> None:
    truth = {name: tuple(sorted(data.draw(st.sets(st.integers(0, len(classes) - 1))))) for name in names}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(["name", "classes"])
    writer.writerows([name, ";".join(classes[label] for label in labels)] for name, labels in truth.items())
    path = written(tmp_path_factory.mktemp("csv"), data.draw(st.sampled_from(["", "\ufeff"])) + file.getvalue())
    assert read_labels(path, photos(*names), classes) == truth


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("z,yes\n", "does not begin with the line 'name,classes', nor with the line of a photo: add it"),
        ("nmae,classes\na,cat\n", "does not begin with"),
        ("name,classes\na,cat\n./a,dog\n", "line 3: 'a' again, after line 2: remove one"),
        ("name,classes\na,cat\na.jpg,dog\n", "has one photo as 'a' and as 'a.jpg': remove one line"),
        ("", "does not begin with"),
        ("name;classes\na;cat\n", "does not begin with"),
        ("name,classes\na,cat,dog\n", "line 2: 3 columns instead of name,classes: join the classes by ';'"),
        ("name,classes\na\n", "line 2: 1 columns"),
        ("name,classes\na,cat\nb,dog\na,dog\n", "line 4: 'a' again, after line 2: remove one"),
        ("name,classes\na,catt\n", "photo a: unknown class 'catt': did you mean 'cat'. choose from cat, cow, dog"),
        ("name,classes\na,3\n", r"photo a: class 3 is outside 0\.\.2: correct the label or name all classes"),
        ("name,classes\na,-1\n", "unknown class '-1'"),
        ("name,classes\na,²\n", "unknown class '²'"),
        ("name,classes\nb,cat\n", "has no labels for 1 of 1 photos, the first is 'a': complete it"),
        ('name,classes\n"a,cat\n', "expected a UTF-8 CSV"),
        (b"name,classes\n\xff,cat\n", "expected a UTF-8 CSV"),
    ],
)
def test_bad_csvs_are_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(LpcamError, match=rf"labels\.csv.*{reason}"):
        read_labels(written(tmp_path, text), photos("a"), CLASSES)


def test_absent_labels_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "name,classes\nb,cat\n")
    with pytest.raises(LpcamError, match="no labels for 2 of 3 photos, the first is 'a'"):
        read_labels(path, photos("a", "b", "c"), CLASSES)


def test_absent_labels_are_not_searched_in_a_list_once_a_photo() -> None:
    """Of eighty thousand photos, as COCO has, that would take minutes."""

    class Unsearchable(list[str]):
        def __contains__(self, _: object) -> bool:
            raise AssertionError

    _require_all(Unsearchable("abc"), ["a", "c"], "here")
    with pytest.raises(LpcamError, match="no labels for 1 of 2 photos, the first is 'd'"):
        _require_all(Unsearchable("abc"), ["a", "d"], "here")


def test_missing_and_unknown_files_of_labels(tmp_path: Path) -> None:
    with pytest.raises(LpcamError, match=r"labels\.csv does not exist: check"):
        read_labels(tmp_path / "labels.csv", photos("a"), CLASSES)
    with pytest.raises(LpcamError, match=r"labels\.json is no file of labels: pass a \.csv .* or a \.npy"):
        read_labels(tmp_path / "labels.json", photos("a"), CLASSES)


# ------------------------------------------------------------------------------------------------ npy


def from_npy(folder: Path, table: dict, *names: str) -> dict[str, tuple[int, ...]]:
    save_dictionary(folder / "cls_labels.npy", table)
    return read_labels(folder / "cls_labels.npy", photos(*names), CLASSES)


@pytest.mark.parametrize(
    "vector",
    [
        np.array([1.0, 0.0, 1.0], dtype=np.float32),
        np.array([1, 0, 1], dtype=np.uint8),
        np.array([True, False, True]),
        torch.tensor([1, 0, 1]),
        [1, 0, 1],
    ],
    ids=lambda vector: type(vector).__name__,
)
def test_vectors_of_every_kind(tmp_path: Path, vector: object) -> None:
    assert from_npy(tmp_path, {"a": vector, "b": np.zeros(3)}, "a", "b") == {"a": (0, 2), "b": ()}


def test_keys_are_names_or_their_digits(tmp_path: Path) -> None:
    one = np.array([0, 1, 0])
    table = {2007000063: one, 30: one, "2008_000001": one, 2008000001: np.zeros(3)}
    names = ("2007_000063", "000000000030", "2008_000001")
    assert from_npy(tmp_path, table, *names) == dict.fromkeys(names, (1,))
    with pytest.raises(LpcamError, match="has one number for two photos"):
        from_npy(tmp_path, {30: one}, "0030", "030")
    with pytest.raises(LpcamError, match=r"cls_labels\.npy has no labels for 2 of 2 photos, the first is 'x30'"):
        from_npy(tmp_path, {30: one}, "x30", "３0")


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.zeros(20), r"a vector of shape \(20,\) for 3 classes: pass --classes"),
        (np.zeros((1, 3)), r"a vector of shape \(1, 3\)"),
        ([[1], [1, 2], 3], "a vector of shape"),
        (None, r"a vector of shape \(\)"),
        (np.array([0, 2, 0]), "values other than 0 and 1"),
        (np.array([0, 0.5, 0]), "values other than 0 and 1"),
        (np.array([0, np.nan, 0]), "values other than 0 and 1"),
        (np.array(["0", "1", "0"]), "values other than 0 and 1"),
        ([0, None, 1], "values other than 0 and 1"),
    ],
)
def test_bad_vectors_are_refused(tmp_path: Path, vector: object, reason: str) -> None:
    with pytest.raises(LpcamError, match=rf"cls_labels\.npy, photo a: .*{reason}"):
        from_npy(tmp_path, {"a": vector}, "a")


# ------------------------------------------------------------------------------------------------ XML


def test_all_objects_count_and_parts_do_not(tmp_path: Path) -> None:
    save_annotation(
        tmp_path / "a.xml",
        "<filename>a.jpg</filename><object><name>person</name><difficult>1</difficult>"
        "<part><name>dog</name></part></object>"
        "<object><part><name>cow</name></part><name> s<!-- -->ofa\n</name></object>"
        "<object><name>person</name></object><name>bird</name>",
    )
    save_annotation(tmp_path / "b.xml", "")
    person, sofa = VOC_CLASSES.index("person"), VOC_CLASSES.index("sofa")
    assert labels_from_xml(tmp_path, ["b", "a"], VOC_CLASSES) == {"b": (), "a": (person, sofa)}


BOMB = (
    '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    "<annotation><object><name>&b;</name></object></annotation>"
)
OUTSIDE = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><object><name>&a;</name></object></annotation>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "document type declaration"),
        (OUTSIDE, "document type declaration"),
        ("<annotation><object>", "no element found"),
        ("", "no element found"),
        ("<html></html>", "it is a <html>, not an <annotation>"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding"),
        ("<annotation><object><name>&a;</name></object></annotation>", "undefined entity"),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    written(tmp_path, text, "a.xml")
    with pytest.raises(LpcamError, match=rf"cannot read .*a\.xml \(.*{reason}.*\): get it again"):
        labels_from_xml(tmp_path, ["a"], CLASSES)


def test_annotations_of_other_classes_and_missing_ones(tmp_path: Path) -> None:
    save_annotation(tmp_path / "a.xml", "<object><name>horse</name></object>")
    with pytest.raises(LpcamError, match=r"a\.xml, photo a: unknown class 'horse'"):
        labels_from_xml(tmp_path, ["a"], CLASSES)
    with pytest.raises(LpcamError, match="has no labels for 2 of 3 photos, the first is 'b'"):
        labels_from_xml(tmp_path, ["a", "b", "c"], CLASSES)


# ---------------------------------------------------------------------------------------------- masks


def test_classes_with_a_pixel_are_labels(tmp_path: Path) -> None:
    for name, values in {"a": [3, 255, 1, 1], "b": [0, 255]}.items():
        save_mask(tmp_path / f"{name}.png", values)
    masks = {name: tmp_path / f"{name}.png" for name in "ab"}
    assert labels_from_masks(masks, ["b", "a"], CLASSES) == {"b": (), "a": (0, 2)}
    with pytest.raises(LpcamError, match="the folder of masks has no labels for 1 of 2 photos, the first is 'c'"):
        labels_from_masks(masks, ["a", "c"], CLASSES)
    with pytest.raises(LpcamError, match=r"a\.png has the value 3, but there are 2 classes"):
        labels_from_masks(masks, ["a"], CLASSES[:2])
