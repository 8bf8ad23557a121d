"""Names that would lead out of a folder, break a line or a terminal, or that some file system does not bear."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lpcam_cli.main import main
from PIL import Image

from lpcam.datasets import open_split
from lpcam.datasets.lists import LONGEST_NAME, check_name
from lpcam.errors import LpcamError
from lpcam.files import write_atomically
from lpcam.pickles import save_dictionary
from lpcam.refiners import REFINERS, get_refiner

linux = pytest.mark.skipif(sys.platform != "linux", reason="such names are made as on Linux")

HOSTILE = (
    "..",
    "../../canary",
    "/etc/passwd",
    "a/../../b",
    "a\\..\\b",
    ".lpcam-seeds",
    ".hidden",
    "a\x1b[2Jb",
    "a\x00b",
    "a\x7fb",
    "x" * (LONGEST_NAME + 1),
    "é" * (LONGEST_NAME // 2 + 1),
    "\udcff",
)
ODD_BUT_HONEST = (
    "-rf",
    "--help",
    "CON",
    "a.",
    "a b",
    "a;b$(touch c)",
    "a'b\"c",
    "\u202egpj.a",
    unicodedata.normalize("NFC", "é1"),
    unicodedata.normalize("NFD", "é2"),
    "日本語",
    "x" * LONGEST_NAME,
)


def assert_line(error: LpcamError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 2000


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_no_photo_bears_a_hostile_name(name):
    with pytest.raises(LpcamError, match=r"is no photo's name|rename it to at most") as caught:
        check_name(name, "list.txt, line 1")
    assert_line(caught.value)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_lists_tables_and_json_that_name_one_are_refused_or_name_nobody(voc_root, name):
    written = name.encode("utf-8", "surrogateescape")
    (voc_root / "ImageSets/Segmentation/hostile.txt").write_bytes(b"2007_000000\n" + written + b"\n")
    with pytest.raises(LpcamError) as caught:
        open_split("voc", voc_root, "hostile", labels=voc_root / "labels.csv", classes=voc_root / "classes.txt")
    assert_line(caught.value)
    with pytest.raises(LpcamError) as caught:
        open_split("folder", voc_root / "JPEGImages", str(voc_root / "ImageSets/Segmentation/hostile.txt"))
    assert_line(caught.value)
    (voc_root / "annotations").mkdir()
    instances = {
        "images": [{"id": 1, "file_name": f"{name}.jpg", "height": 48, "width": 64}],
        "annotations": [],
        "categories": [{"id": 1, "name": "sheep"}],
    }
    (voc_root / "annotations/instances_a.json").write_text(json.dumps(instances))
    with pytest.raises(LpcamError) as caught:
        open_split("coco", voc_root, "a")
    assert_line(caught.value)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_lines_for_photos_of_hostile_names_are_passed_over_in_files_of_labels(voc_root, name, tmp_path):
    def labels_of(path: Path) -> list[tuple[int, ...]]:
        split = open_split("voc", voc_root, "train", labels=path, classes=voc_root / "classes.txt")
        return [photo.labels for photo in split.photos]

    vectors = {f"2007_{index:06d}": np.array([1.0, 0.0]) for index in range(6)}
    save_dictionary(
        tmp_path / "labels.npy", {**vectors, name.encode("ascii", "replace").decode(): np.array([0.0, 1.0])}
    )
    assert labels_of(tmp_path / "labels.npy") == [(0,)] * 6
    table = (voc_root / "labels.csv").read_bytes()
    (tmp_path / "labels.csv").write_bytes(table + name.encode("utf-8", "replace").replace(b"\0", b"") + b",sheep\n")
    assert labels_of(tmp_path / "labels.csv") == labels_of(voc_root / "labels.csv")


@linux
@pytest.mark.parametrize("file", [b"\xff.jpg", b"a\nb.jpg", b"\x1b[2J.jpg", b"..a.jpg", b"x" * 240 + b".jpg"], ids=repr)
def test_a_folder_with_such_a_file_is_refused_in_one_line(tmp_path, file):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    place = os.path.join(os.fsencode(tmp_path / "photos"), file)  # noqa: PTH118 - bytes
    shutil.copy(tmp_path / "a.png", place)
    (tmp_path / "classes.txt").write_text("sheep\n")
    options = f"--dataset folder --root {tmp_path}/photos --split all --classes {tmp_path}/classes.txt"
    (tmp_path / "photos/labels.csv").write_text("name,classes\n")
    command = f"extract-features -w {tmp_path}/w {options} --arch demo --weights {tmp_path}/no.pth"
    found = CliRunner().invoke(main, command.split())
    if file.startswith(b"."):  # hidden, so passed over
        assert "holds no photos" in found.output
    else:
        assert "is no photo's name" in found.output or "rename it to at most" in found.output
    assert found.exit_code == 1
    assert len(found.output.splitlines()) == 1
    assert "\x1b" not in found.output
    assert not (tmp_path / "w").exists()


@linux
def test_odd_names_go_through_all_stages_and_stay_in_their_folders(tmp_path, checkpoint):
    photos, work = tmp_path / "photos", tmp_path / "w"
    photos.mkdir()
    random = np.random.default_rng(0)
    for name in ODD_BUT_HONEST:
        Image.fromarray(random.integers(0, 255, (32, 40, 3), dtype=np.uint8)).save(photos / f"{name}.png")
    save_dictionary(tmp_path / "labels.npy", {name: np.array([1.0, 0.0]) for name in ODD_BUT_HONEST})
    (tmp_path / "classes.txt").write_text("sheep\ntrain\n")
    data = (
        f"--dataset folder --root {photos} --split all --labels {tmp_path}/labels.npy --classes {tmp_path}/classes.txt"
    )
    for command in (
        f"extract-features -w {work} {data} --arch demo --weights {checkpoint} --scales 1 --device cpu",
        f"cluster -w {work} --k 2",
        f"generate -w {work} --method lpcam --device cpu",
        f"generate -w {work} --method lpcam --refiner amn --device cpu",
        f"report -w {work}",
        f"inspect {work}",
    ):
        found = CliRunner().invoke(main, command.split(), catch_exceptions=False)
        assert found.exit_code == 0, found.output
    for family in ("irn", "amn"):
        seeds = {path.name for path in (work / "seeds/lpcam" / family).glob("*.npy")}
        assert seeds == {f"{name}.npy" for name in ODD_BUT_HONEST}
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "w", "labels.npy", "classes.txt"}
    assert {path.name for path in photos.iterdir()} == {f"{name}.png" for name in ODD_BUT_HONEST}


def whole(path: Path) -> None:
    path.write_text("whole")


@pytest.mark.parametrize("refiner", REFINERS)
def test_the_longest_name_can_be_written_by_every_family(tmp_path, refiner):
    path = get_refiner(refiner).path(tmp_path, "x" * LONGEST_NAME)
    write_atomically(path, whole)
    assert path.read_text() == "whole"
    with pytest.raises(LpcamError, match="cannot write"):
        write_atomically(tmp_path / ("x" * 255), whole)


@linux
def test_names_that_differ_in_case_or_accents_only_are_said(tmp_path):
    def notices(*names: str) -> tuple[str, ...]:
        shutil.rmtree(tmp_path / "photos", ignore_errors=True)
        (tmp_path / "photos").mkdir()
        for name in names:
            Image.new("RGB", (8, 8)).save(tmp_path / "photos" / f"{name}.png")
        (tmp_path / "photos/labels.csv").write_text("name,classes\n" + "".join(f"{name},a\n" for name in names))
        return open_split("folder", tmp_path / "photos", "all").notices

    assert notices("a", "b") == ()
    for pair in (("a", "A"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301")):
        assert any("differ in case or accents only" in notice for notice in notices(*pair))


def test_folders_that_make_a_name_too_long_are_refused(tmp_path):
    file = tmp_path / "photos" / ("a" * 99) / f"{'b' * 100}.png"  # 199 letters in the list, 201 bytes with the joint
    file.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(file)
    (tmp_path / "photos/own.txt").write_text(f"{'a' * 99}/{'b' * 100}\n")
    (tmp_path / "classes.txt").write_text("sheep\n")
    for split in ("own", "all"):
        table = f"name,classes\n{'a' * 99}/{'b' * 100},sheep\n"
        (tmp_path / "photos/labels.csv").write_text(table)
        with pytest.raises(LpcamError, match=f"has 201 bytes .*at most {LONGEST_NAME} bytes"):
            open_split("folder", tmp_path / "photos", split, classes=tmp_path / "classes.txt")


# --------------------------------------------------------------------------------------------- links


@linux
def test_links_are_followed_once_and_nothing_is_written_through_them(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "photos"
    for path in (outside / "deep/c.png", root / "herd/b.png", outside / "d.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (root / "a.png").symlink_to(outside / "d.png")  # a photo
    (root / "more").symlink_to(outside)  # a folder elsewhere, with folders in it
    (root / "again").symlink_to(root / "herd")  # a folder that is there already
    (root / "up").symlink_to(tmp_path)  # a loop
    (root / "gone.png").symlink_to(tmp_path / "nothing.png")
    (outside / "back").symlink_to(root)
    (tmp_path / "labels.csv").write_text("name,classes\n")
    (tmp_path / "classes.txt").write_text("a\n")
    names = ["a", "herd__b", "more__d", "more__deep__c"]
    (tmp_path / "labels.csv").write_text("name,classes\n" + "".join(f"{name},a\n" for name in names))
    split = open_split("folder", root, "all", labels=tmp_path / "labels.csv")
    assert [photo.name for photo in split.photos] == names


@linux
def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a.npy").symlink_to(tmp_path / "precious")
    save_dictionary(tmp_path / "a.npy", {"a": 1})
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "a.npy").is_symlink()
