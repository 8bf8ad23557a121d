"""lpcam.datasets.lists: names of a split and the files that bear them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpcam.datasets.lists import (
    MASK_SUFFIXES,
    PHOTO_SUFFIXES,
    check_name,
    check_root,
    files_by_name,
    find_list,
    masks_of,
    photos_of,
    read_lines,
    read_list,
)
from lpcam.errors import LpcamError


def listed(folder: Path, text: str | bytes) -> tuple[str, ...]:
    (folder / "train.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_list(folder / "train.txt")


# ---------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    "text",
    [
        "2007_000032\n2007_000033\n",
        "2007_000032\r\n\r\n  2007_000033\r\n",
        "\ufeff2007_000032\n2007_000033",
        "/JPEGImages/2007_000032.jpg /SegmentationClass/2007_000032.png\n/JPEGImages/2007_000033.jpg /S/x.png\n",
        "JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png\r\nJPEGImages/2007_000033.jpeg\n",
    ],
)
def test_names_a_line_or_irns_paths(tmp_path: Path, text: str) -> None:
    assert listed(tmp_path, text) == ("2007_000032", "2007_000033")


def test_order_is_kept_and_names_may_have_spaces_and_dots(tmp_path: Path) -> None:
    assert listed(tmp_path, "b c\na.v1\nä\n") == ("b c", "a.v1", "ä")


NAME = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\."), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.lists(NAME, min_size=1, unique=True), st.sampled_from(["\n", "\r\n"]))
def test_whatever_names_are_written_are_read(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], end: str
) -> None:
    assert listed(tmp_path_factory.mktemp("list"), end.join(names)) == tuple(names)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"lists no photos: write a name a line"),
        ("\n\r\n", r"lists no photos"),
        ("a\nb\n\na\n", r"has 'a' twice \(lines 1 and 4\): remove one"),
        ("a\n../b\n", r"line 2: '\.\./b' is no photo's name"),
        ("/etc/passwd\n", r"line 1: '/etc/passwd' is no photo's name"),
        ("/JPEGImages/...jpg /x\n", r"'\.\.' is no photo's name"),
        ("/JPEGImages/a/b.jpg\n", "is no photo's name"),
        (b"\xff\xfea\x00", "expected a UTF-8 text file"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(LpcamError, match=rf"train\.txt.*{reason}"):
        listed(tmp_path, text)


@pytest.mark.parametrize("name", ["", ".", "..", "a..b", "a/b", "/a", "a\\b", "a\nb", "a\x00", "a\x7f", "\t"])
def test_names_that_are_no_file_names(name: str) -> None:
    with pytest.raises(LpcamError, match=r"here: .* is no photo's name: give") as caught:
        check_name(name, "here")
    assert "\n" not in str(caught.value)


def test_a_missing_text_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LpcamError, match=r"none\.txt does not exist: check"):
        read_lines(tmp_path / "none.txt")


def test_lists_are_found_in_order_by_name_or_by_path(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ["train"]), (second, ["train", "val"])):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.txt").touch()
    places = [first, second]
    assert find_list("train", places) == first / "train.txt"
    assert find_list("val", places) == second / "val.txt"
    assert find_list(str(second / "train.txt"), places) == second / "train.txt"
    with pytest.raises(LpcamError, match=r"unknown split 'trian': did you mean 'train'\? choose from train, val"):
        find_list("trian", places)
    with pytest.raises(LpcamError, match=r"list .*first/val\.txt does not exist: pass"):
        find_list(str(first / "val.txt"), places)
    with pytest.raises(LpcamError, match=r"no list train\.txt in .*/x or .*/y: write one"):
        find_list("train", [tmp_path / "x", tmp_path / "y"])


# ---------------------------------------------------------------------------------------------- files


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_files_by_name_are_sorted_and_others_passed_over(tmp_path: Path) -> None:
    folder = touch(tmp_path / "p", "b.JPG", "a.v1.png", "c.txt", ".d.jpg", "._b.jpg", "Thumbs.db", "c.jpeg")
    (folder / "e.jpg").mkdir()
    assert files_by_name(folder, PHOTO_SUFFIXES) == {
        "a.v1": folder / "a.v1.png",
        "b": folder / "b.JPG",
        "c": folder / "c.jpeg",
    }
    assert list(files_by_name(folder, PHOTO_SUFFIXES)) == ["a.v1", "b", "c"]
    assert list(files_by_name(folder, MASK_SUFFIXES)) == ["a.v1"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LpcamError, match=r"has a\.jpg and a\.png: rename one"):
        files_by_name(touch(tmp_path / "p", "a.jpg", "a.png"), PHOTO_SUFFIXES)


def test_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LpcamError, match=r"cannot read folder .*/p \(No such file"):
        files_by_name(tmp_path / "p", PHOTO_SUFFIXES)
    with pytest.raises(LpcamError, match=r"folder .*/p does not exist: pass .* as --root"):
        check_root(tmp_path / "p")
    check_root(tmp_path)


def test_photos_by_name_or_file_name_in_the_lists_order() -> None:
    files = {"a": Path("p/a.jpg"), "b": Path("p/b.png"), "c.v1": Path("p/c.v1.jpg")}
    assert list(photos_of(["c.v1", "b.png", "a"], files, Path("l.txt")).items()) == [
        ("c.v1", Path("p/c.v1.jpg")),
        ("b", Path("p/b.png")),
        ("a", Path("p/a.jpg")),
    ]
    with pytest.raises(LpcamError, match=r"l\.txt lists 2 of 3 names without a photo, the first is 'x': add"):
        photos_of(["a", "x", "a.png"], files, Path("l.txt"))
    with pytest.raises(LpcamError, match=r"l\.txt lists a photo twice"):
        photos_of(["a", "a.jpg"], files, Path("l.txt"))


def test_photos_by_the_integers_irn_makes_of_names() -> None:
    files = {name: Path(f"{name}.jpg") for name in ("2007_000032", "2007_000033", "1_23", "12_3", "77")}
    listed = ["2007000033", "2007_000032", "77"]
    assert list(photos_of(listed, files, Path("l.txt"))) == ["2007_000033", "2007_000032", "77"]
    with pytest.raises(LpcamError, match="1 of 1 names without a photo, the first is '123'"):
        photos_of(["123"], files, Path("l.txt"))  # 1_23 and 12_3
    with pytest.raises(LpcamError, match=r"lists a photo twice, spelled in two ways"):
        photos_of(["2007_000032", "2007000032"], files, Path("l.txt"))


def test_masks_of_the_photos_that_have_one(tmp_path: Path) -> None:
    folder = touch(tmp_path / "m", "a.png", "b.jpg", "z.png")
    nowhere = tmp_path / "nowhere"
    assert masks_of(["a", "b"], folder, nowhere) == {"a": folder / "a.png"}
    assert masks_of(["a", "b"], None, folder) == {"a": folder / "a.png"}
    assert masks_of(["b"], None, folder) == {}
    assert masks_of(["a"], None, nowhere) == {}
    with pytest.raises(LpcamError, match=r"/m has no mask of these photos: pass .* as --masks"):
        masks_of(["b"], folder, nowhere)
    with pytest.raises(LpcamError, match="cannot read folder"):
        masks_of(["a"], nowhere, folder)
