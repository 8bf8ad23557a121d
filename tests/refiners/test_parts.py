"""refiners: what is written beside the seeds, with the access patterns of its readers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpcam.crf import CLIP_ES, EDAM, IRN, PSA, crf_of_labels, crf_of_scores
from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps, Photo
from lpcam.refiners import REFINERS, get_refiner
from lpcam.refiners.label_parts import save_labels
from lpcam.refiners.next_step import Origin
from lpcam.refiners.parts import PartOptions
from lpcam.refiners.writing import Writing
from tests.refiners import readers
from tests.refiners.samples import LABELS, make_maps

SIZE = (40, 56)
CRF = PartOptions(crf=True)
WITH_CRF = [name for name in REFINERS if name != "sipe"]


@pytest.fixture
def photo(tmp_path) -> Photo:
    return make_photo(tmp_path / "2007_000032.png", SIZE)


def make_photo(path: Path, size: tuple[int, int], labels=()) -> Photo:
    random = np.random.default_rng(1)
    small = random.integers(0, 255, (size[0] // 8 + 1, size[1] // 8 + 1, 3), dtype=np.uint8)
    Image.fromarray(small).resize((size[1], size[0])).save(path)
    return Photo(path.stem, path, labels)


def write(folder: Path, name: str, photo: Photo, maps: ActivationMaps, options=CRF, origin=Origin()) -> Path:
    writing = Writing.of(name, options, origin)
    photo = replace(photo, labels=maps.labels)
    writing.check([photo])
    assert not writing.is_written(folder, photo.name)
    writing.write(folder, photo, maps)
    assert writing.is_written(folder, photo.name)
    json.dumps(writing.settings)
    return folder


def pixels_of(photo: Photo) -> np.ndarray:
    return np.asarray(Image.open(photo.path).convert("RGB"))


def palette_image(path: Path) -> np.ndarray:
    """Read a label PNG as a data loader does, and as a person does: it has a palette and is not black."""
    with Image.open(path) as image:
        assert image.mode == "P"
        labels = np.asarray(image)
        colours = np.asarray(image.convert("RGB"))
    assert labels.dtype == np.uint8
    assert (colours.any(axis=2) == (labels > 0)).all()
    return labels


# ------------------------------------------------------------------------------------- CRF dictionaries

SCORES = {  # folder: (α, settings)
    "psa": {"la_crf": (4, PSA), "ha_crf": (32, PSA)},
    "seam": {"crf_4.0": (4, PSA), "crf_24.0": (24, PSA)},
    "edam": {"out_crf": (1, EDAM)},
    "mctformer": {"la_crf": (1, PSA), "ha_crf": (12, PSA)},
}


@pytest.mark.parametrize("name", sorted(SCORES))
@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_crf_dictionaries(tmp_path, photo, name, labels):
    pytest.importorskip("pydensecrf.densecrf")
    maps = make_maps(labels, SIZE)
    folder = write(tmp_path / "out", name, photo, maps)
    held = np.stack([*readers.load(folder / f"{photo.name}.npy").values()]) if labels else np.zeros((0, *SIZE))
    found = {part: readers.load(folder / part / f"{photo.name}.npy") for part in SCORES[name]}
    orders = {tuple(content) for content in found.values()}
    assert orders == {(0, *(label + 1 for label in labels))}, "0 first, la and ha in the same order"
    for part, (alpha, settings) in SCORES[name].items():
        for key, value in found[part].items():
            assert type(key) is int
            assert value.dtype == np.float32
            assert value.shape == SIZE
        stacked = np.stack([*found[part].values()])
        if not labels:
            assert (stacked == 1).all()
            continue
        background = (1 - held.max(axis=0, keepdims=True)) ** alpha
        expected = crf_of_scores(pixels_of(photo), np.concatenate([background, held]).astype(np.float32), settings)
        np.testing.assert_allclose(stacked, expected, atol=1e-5)


def test_a_higher_alpha_leaves_less_background(tmp_path, photo):
    pytest.importorskip("pydensecrf.densecrf")
    folder = write(tmp_path / "out", "psa", photo, make_maps((0, 7), SIZE))
    low, high = (readers.load(folder / part / f"{photo.name}.npy")[0] for part in ("la_crf", "ha_crf"))
    assert low.mean() > high.mean()


# --------------------------------------------------------------------------------------------- IR labels

CONFIDENCES = {  # (family, method, data set): (conf_fg, conf_bg)
    ("irn", "lpcam", "voc"): (0.45, 0.25),
    ("irn", "cam", "voc"): (0.30, 0.05),
    ("irn", "class-prototypes", "folder"): (0.45, 0.25),
    ("lpcam", "lpcam", "coco"): (0.45, 0.25),
    ("recam", "cam", "voc"): (0.35, 0.10),
    ("recam", "cam", "coco"): (0.35, 0.10),
    ("recam", "lpcam", "voc"): (0.45, 0.25),
    ("advcam", "cam", "voc"): (0.35, 0.15),
    ("amn", "cam", "voc"): (0.30, 0.05),
    ("amn", "lpcam", "coco"): (0.45, 0.25),
}


@pytest.mark.parametrize(("name", "method", "dataset"), sorted(CONFIDENCES))
def test_confidences_of_the_table(name, method, dataset):
    pytest.importorskip("pydensecrf.densecrf")
    writing = Writing.of(name, CRF, Origin(method, dataset))
    settings = writing.settings["ir_label"]
    assert (settings["conf_fg"], settings["conf_bg"]) == CONFIDENCES[name, method, dataset]


@pytest.mark.parametrize("name", ["irn", "amn"])
@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), SIZE])
def test_ir_labels(tmp_path, name, labels, size):
    pytest.importorskip("pydensecrf.densecrf")
    maps, photo = make_maps(labels, size), make_photo(tmp_path / "a.png", size)
    folder = write(tmp_path / "out", name, photo, maps)
    found = palette_image(folder / "ir_label/a.png")
    keys = np.pad(np.array(labels, dtype=np.int64) + 1, (1, 0), mode="constant")
    sides = []
    for confidence in (0.45, 0.25):
        padded = np.pad(maps.high_res.numpy(), ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=confidence)
        sides.append(keys[crf_of_labels(pixels_of(photo), padded.argmax(axis=0), len(keys), IRN)])
    expected = sides[0].copy()
    expected[sides[0] == 0] = 255
    expected[sides[0] + sides[1] == 0] = 0
    np.testing.assert_array_equal(found, expected)
    assert labels or not found.any(), "a photo without classes is background"


def test_ir_labels_have_all_three_kinds(tmp_path, photo):
    """Three flat regions, on a photo of three flat colours: certain object, between the confidences, background."""
    pytest.importorskip("pydensecrf.densecrf")
    pixels = np.zeros((*SIZE, 3), dtype=np.uint8)
    high_res = torch.zeros(1, *SIZE)
    for index, value in enumerate((0.9, 0.35, 0.1)):
        pixels[:, 19 * index : 19 * index + 19, index] = 255
        high_res[:, :, 19 * index : 19 * index + 19] = value
    Image.fromarray(pixels).save(photo.path)
    maps = ActivationMaps((14,), torch.zeros(1, 10, 14), high_res)
    found = palette_image(write(tmp_path / "out", "irn", photo, maps) / f"ir_label/{photo.name}.png")
    assert [int(found[20, 19 * index + 9]) for index in range(3)] == [15, 255, 0]


# ----------------------------------------------------------------------------------------------- CLIP-ES


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_clip_es_labels(tmp_path, photo, labels):
    pytest.importorskip("pydensecrf.densecrf")
    maps = make_maps(labels, SIZE)
    found = palette_image(write(tmp_path / "out", "clip-es", photo, maps) / f"pseudo_label/{photo.name}.png")
    if not labels:
        assert not found.any()
        return
    held = maps.high_res.numpy()
    posterior = crf_of_scores(pixels_of(photo), np.concatenate([1 - held.max(axis=0, keepdims=True), held]), CLIP_ES)
    expected = np.array([0, *(label + 1 for label in labels)])[posterior.argmax(axis=0)]
    np.testing.assert_array_equal(found, np.where(posterior.max(axis=0) < 0.95, 255, expected))
    assert 0 < (found == 255).mean() < 1


# -------------------------------------------------------------------------------------------------- EDAM


def edam_reader(maps: dict, saliency: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """EDAM's merge on all twenty-one channels, as REFINERS.md puts it."""
    scores = np.zeros((21, *size), np.float32)
    for key, value in maps.items():
        scores[key + 1] = value
    scores = np.where(scores < 1e-6, -2, scores)
    scores = np.where(scores > 0.99999, 2, scores)
    scores[0] = np.where(saliency <= 0.2 * 100, 1, 0)
    return scores.argmax(axis=0)


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_edam_merges_maps_and_saliency(tmp_path, photo, labels):
    maps = make_maps(labels, SIZE)
    if labels:
        maps.high_res[:, :9] = 0
    saliency = np.random.default_rng(2).integers(0, 60, SIZE, dtype=np.uint8)
    saliency[:20] = 20  # the last value that is background
    (tmp_path / "saliency").mkdir()
    Image.fromarray(saliency).save(tmp_path / f"saliency/{photo.name}.png")
    options = PartOptions(saliency=tmp_path / "saliency")
    folder = write(tmp_path / "out", "edam", photo, maps, options)
    found = palette_image(folder / f"out_cam_pred/{photo.name}.png")
    held = readers.load(folder / f"{photo.name}.npy")
    np.testing.assert_array_equal(found, edam_reader(held, saliency, SIZE))
    assert bool(labels) == bool(found.any())
    for label, value in held.items():  # what a map is certain of wins over the background
        assert found[value == 1].tolist().count(label + 1) >= 1


def test_saliency_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, photo):
    (tmp_path / "saliency").mkdir()
    writing = Writing.of("edam", PartOptions(saliency=tmp_path / "saliency"), Origin())
    with pytest.raises(LpcamError, match=r"lacks the saliency maps of 1 of 1 photos, the first is '2007_000032\.png'"):
        writing.check([photo])
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "saliency/2007_000032.png")
    with pytest.raises(LpcamError, match=r"is 6×5 but its photo is 56×40"):
        writing.check([photo])
    (tmp_path / "saliency/2007_000032.png").write_bytes(b"junk")
    with pytest.raises(LpcamError, match=r"cannot read .*: replace the file"):
        writing.check([photo])


# --------------------------------------------------------------------------------------------- refusals


def test_parts_that_a_family_does_not_have_are_refused():
    with pytest.raises(LpcamError, match="sipe reads nothing that a CRF makes"):
        Writing.of("sipe", CRF, Origin())
    for name in REFINERS:
        if name != "edam":
            with pytest.raises(LpcamError, match="choose edam"):
                Writing.of(name, PartOptions(saliency=Path("s")), Origin())


@pytest.mark.parametrize("name", WITH_CRF)
def test_a_missing_package_is_named_before_any_photo(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(LpcamError, match=r"pip install 'lpcam\[crf\]'"):
        Writing.of(name, CRF, Origin())
    assert Writing.of(name, PartOptions(), Origin()).parts == ()


def test_classes_that_a_byte_cannot_name_are_refused(photo):
    pytest.importorskip("pydensecrf.densecrf")
    for name in ("irn", "clip-es"):
        writing = Writing.of(name, CRF, Origin())
        writing.check([replace(photo, labels=(253,))])
        with pytest.raises(LpcamError, match="at most 254 classes"):
            writing.check([replace(photo, labels=(254,))])


def test_a_palette_is_vocs(tmp_path):
    save_labels(tmp_path / "a.png", np.arange(256, dtype=np.uint8).reshape(16, 16))
    with Image.open(tmp_path / "a.png") as image:
        colours = np.asarray(image.convert("RGB")).reshape(256, 3)
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        7: (128, 128, 128),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {index: tuple(colours[index].tolist()) for index in known} == known
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


def test_parts_are_named_as_the_seeds_are(tmp_path):
    pytest.importorskip("pydensecrf.densecrf")
    photo = make_photo(tmp_path / "COCO_train2014_000000000009.png", (9, 9))
    folder = write(tmp_path / "out", "amn", photo, make_maps((1,), (9, 9)))
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "000000000009.npy",
        "ir_label/000000000009.png",
    ]


@pytest.mark.parametrize("name", WITH_CRF)
def test_same_maps_same_bytes(tmp_path, photo, name):
    pytest.importorskip("pydensecrf.densecrf")
    maps = make_maps((0, 7), SIZE)
    first, second = (write(tmp_path / folder, name, photo, maps) for folder in ("a", "b"))
    assert get_refiner(name).path(first, photo.name).is_file()
    for path in (path for path in first.rglob("*") if path.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
