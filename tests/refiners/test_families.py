"""refiners: every family round-tripped with its reader's own access pattern, at odd sizes; and each trap."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lpcam.errors import LpcamError
from lpcam.pickles import save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import REFINERS, get_reader, get_refiner, readable
from tests.refiners import readers
from tests.refiners.readers import READERS, SIPE_THRESHOLD
from tests.refiners.samples import LABELS, SIZES, make_maps, seeds_of

FAMILIES = tuple(REFINERS)
SIZELESS = {"amn", "psa", "seam", "edam", "mctformer"}
"""Families whose file of a photo without classes does not say its size."""
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # np.power of a tensor, in a reader
OLD_PYTHONS = [word for word in os.environ.get("LPCAM_OLD_PYTHON", "").split(":") if word]


def held(name: str, maps: ActivationMaps) -> ActivationMaps:
    """Return the maps as the family's normalisation leaves them, written out."""
    values = maps.high_res.numpy().copy()
    for index in range(len(values)):
        if name in ("seam", "mctformer") and values[index].min() < values[index].max():
            values[index] -= values[index].min()
        if name in ("seam", "mctformer", "edam"):
            values[index] /= values[index].max()
    if name == "clip-es":
        values = values.astype(np.float16).astype(np.float32)
    return replace(maps, high_res=torch.from_numpy(values))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_reader_finds_the_seeds(tmp_path, name, labels, size):
    maps = make_maps(labels, size)
    get_refiner(name).write(tmp_path, "2007_000032", maps)
    (path,) = tmp_path.iterdir()
    threshold = SIPE_THRESHOLD if name == "sipe" else 0.3
    found = READERS[name](path, size, threshold)
    np.testing.assert_array_equal(found, seeds_of(held(name, maps), threshold))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_is_read_is_what_was_written(tmp_path, name, labels, size):
    refiner, maps = get_refiner(name), make_maps(labels, size)
    refiner.write(tmp_path, "a", maps)
    back = refiner.read(tmp_path, "a")
    assert back.labels == labels
    if not labels and name in SIZELESS:
        assert not refiner.keeps_size
        assert tuple(back.high_res.shape) == tuple(back.strided.shape) == (0, 0, 0)
        return
    assert torch.equal(back.high_res, held(name, maps).high_res)
    assert back.strided.dtype == torch.float32
    if name in ("irn", "lpcam", "recam", "advcam", "amn"):
        assert torch.equal(back.strided, maps.strided)
    else:
        assert tuple(back.strided.shape) == tuple(maps.strided.shape)
        assert labels == () or 0 <= float(back.strided.min()) <= float(back.strided.max()) <= 1
    refiner.write(tmp_path, "b", back)  # and once more: nothing is lost a second time
    assert torch.equal(refiner.read(tmp_path, "b").high_res, back.high_res)


def test_the_types_are_those_of_the_repositorys_own_writer(tmp_path):
    maps = make_maps((0, 7), (9, 14))
    types = {}
    for name in FAMILIES:
        refiner = get_refiner(name)
        refiner.write(tmp_path / name, "a", maps)
        content = readers.load(refiner.path(tmp_path / name, "a"))
        types[name] = {key: type(value).__module__.split(".")[0] for key, value in content.items()}
    assert types["irn"] == {"keys": "torch", "cam": "torch", "high_res": "numpy"}
    assert types["recam"] == types["advcam"] == types["amn"] == types["irn"]
    assert types["lpcam"] == {"keys": "numpy", "cam": "torch", "high_res": "torch"}
    assert types["psa"] == types["seam"] == types["edam"] == types["mctformer"] == {0: "numpy", 7: "numpy"}
    assert types["clip-es"] == {"keys": "numpy", "attn_highres": "numpy"}
    assert types["sipe"] == {"keys": "numpy", "IS_CAM": "numpy"}


def test_by_hand(tmp_path):
    """One row of four pixels, two classes: what each family makes of it, computed on paper."""
    first, second = [0.25, 0.5, 0.75, 0.5], [0.0, 0.25, 0.5, 1.0]
    maps = ActivationMaps((2, 5), torch.ones(2, 1, 1), torch.tensor([[first], [second]]))
    content = {}
    for name in FAMILIES:
        refiner = get_refiner(name)
        refiner.write(tmp_path / name, "a", maps)
        content[name] = readers.load(refiner.path(tmp_path / name, "a"))
    background = [0.75, 0.5, 0.25, 0.0]
    assert content["amn"]["keys"].tolist() == [2, 5]
    assert content["amn"]["high_res"].tolist() == [[background], [first], [second]]
    assert content["amn"]["cam"].tolist() == [[[0.0]], [[1.0]], [[1.0]]]
    assert content["sipe"]["keys"].tolist() == [0, 3, 6]
    assert content["sipe"]["IS_CAM"].tolist() == [[background], [first], [second]]
    assert content["clip-es"]["keys"].tolist() == [2, 5]
    assert content["psa"][2].tolist() == [first]
    assert content["edam"][2].tolist() == [[np.float32(value) / np.float32(0.75) for value in first]]
    assert content["seam"][2].tolist() == content["mctformer"][2].tolist() == [[0.0, 0.5, 1.0, 0.5]]
    assert content["seam"][5].tolist() == [second]
    assert content["advcam"]["cam"].tolist() == [[[1.0]], [[1.0]]]  # not raised: its reader does that


# ------------------------------------------------------------------------------------------ the traps


@pytest.mark.parametrize("name", FAMILIES)
def test_old_numpy_knows_every_module_named(tmp_path, name):
    refiner = get_refiner(name)
    refiner.write(tmp_path, "a", make_maps((1, 2), (40, 30)))
    data = refiner.path(tmp_path, "a").read_bytes()
    assert data.startswith(b"\x93NUMPY\x01\x00")
    assert b"numpy._core" not in data
    assert b"numpy.core.multiarray" in data


@pytest.mark.parametrize("name", FAMILIES)
def test_a_view_does_not_drag_its_storage_along(tmp_path, name):
    whole = make_maps((0, 1, 2, 3), (128, 128))
    part = ActivationMaps((1,), whole.strided[1:2], whole.high_res[1:2])
    refiner = get_refiner(name)
    refiner.write(tmp_path, "a", part)
    content = readers.load(refiner.path(tmp_path, "a"))
    payload = sum(np.asarray(value).nbytes for value in content.values())
    assert refiner.path(tmp_path, "a").stat().st_size < payload + 2000


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_that_are_zero_everywhere_stay_zero_and_are_no_foreground(tmp_path, name):
    maps = ActivationMaps((4,), torch.zeros(1, 3, 4), torch.zeros(1, 9, 14))
    refiner = get_refiner(name)
    refiner.write(tmp_path, "a", maps)
    assert not READERS[name](refiner.path(tmp_path, "a"), (9, 14), 0.3).any()
    back = refiner.read(tmp_path, "a").high_res
    assert bool(torch.isfinite(back).all())
    assert not back.any()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_not_written(tmp_path, name, bad):
    maps = ActivationMaps((1,), torch.zeros(1, 2, 2), torch.full((1, 8, 8), bad))
    with pytest.raises(ValueError, match="finite"):
        get_refiner(name).write(tmp_path, "a", maps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_photo_without_classes_and_without_size(tmp_path, name):
    maps = ActivationMaps((), torch.zeros(0, 0, 0), torch.zeros(0, 0, 0))
    refiner = get_refiner(name)
    if name in SIZELESS:
        refiner.write(tmp_path, "a", maps)
        assert len(readers.load(refiner.path(tmp_path, "a")).get("keys", ())) == 0
        return
    with pytest.raises(ValueError, match="size of the photo"):
        refiner.write(tmp_path, "a", maps)


def test_names(tmp_path):
    maps = make_maps((1,), (8, 8))
    for name in FAMILIES:
        for photo in ("2007_000032", "COCO_train2014_000000000009", "000000000009"):
            get_refiner(name).write(tmp_path / name / photo, photo, maps)
            (path,) = (tmp_path / name / photo).iterdir()
            is_short = name == "amn" and photo.startswith("COCO")
            assert path.name == ("000000000009.npy" if is_short else f"{photo}.npy")


@pytest.mark.parametrize("name", FAMILIES)
def test_files_of_other_families_are_refused(tmp_path, name):
    alike = [{"irn", "lpcam", "recam", "advcam", "amn"}, {"psa", "seam", "edam", "mctformer"}]
    for other in FAMILIES:
        if other == name or any({name, other} <= group for group in alike):
            continue
        get_refiner(other).write(tmp_path / other, "a", make_maps((0, 7), (9, 14)))
        with pytest.raises(LpcamError, match=f"does not hold {get_refiner(name).title} seeds .* run 'lpcam generate'"):
            get_refiner(name).read(tmp_path / other, "a")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("amn", {"keys": torch.tensor([1]), "cam": torch.ones(2, 3, 4)}, "no 'high_res'"),
        ("psa", {0: np.zeros((4, 4), np.float32), 3: np.zeros((4, 5), np.float32)}, "same shape"),
        ("psa", {"a": np.zeros((4, 4), np.float32)}, "integer keys"),
        ("psa", {0: np.zeros(4, np.float32)}, r"\[K, H, W\]"),
        ("sipe", {"keys": np.array([1, 2]), "IS_CAM": np.zeros((2, 4, 4), np.float32)}, "key 0 first"),
        ("clip-es", {"keys": np.array([1, 2]), "attn_highres": np.zeros((1, 4, 4), np.float16)}, r"\[2, H, W\]"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, why):
    save_dictionary(tmp_path / "a.npy", content)
    with pytest.raises(LpcamError, match=why):
        get_refiner(name).read(tmp_path, "a")


def test_every_family_of_the_issue_is_there_and_read():
    wanted = {"irn", "lpcam", "recam", "advcam", "amn", "psa", "seam", "edam", "mctformer", "clip-es", "sipe"}
    assert set(FAMILIES) == wanted == set(readable())
    assert all(get_reader(name).name == name for name in FAMILIES)


# ----------------------------------------------------------------------------------------- old NumPy


@pytest.mark.skipif(not OLD_PYTHONS, reason="LPCAM_OLD_PYTHON names no old interpreter")
@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_old_interpreters_read_every_family(tmp_path, python):
    """Run the readers in the interpreters of LPCAM_OLD_PYTHON (paths joined by ``:``); docs/refiners.md says which."""
    size, expected = (37, 50), {}
    for name in FAMILIES:
        for labels in LABELS:
            maps, threshold = make_maps(labels, size), SIPE_THRESHOLD if name == "sipe" else 0.3
            get_refiner(name).write(tmp_path / name, str(len(labels)), maps)
            expected[f"{name} {len(labels)}"] = int(seeds_of(held(name, maps), threshold).sum())
    command = [python, "-c", _OLD_READER, str(Path(readers.__file__).parent), str(tmp_path)]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert dict(line.rsplit(" ", 1) for line in output.splitlines()) == {
        key: str(value) for key, value in expected.items()
    }


_OLD_READER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from readers import READERS, SIPE_THRESHOLD
for name in READERS:
    for count in "013":
        threshold = SIPE_THRESHOLD if name == "sipe" else 0.3
        labels = READERS[name](os.path.join(sys.argv[2], name, count + ".npy"), (37, 50), threshold)
        print(name, count, labels.sum())
"""


def test_this_interpreter_reads_every_family_without_lpcam(tmp_path):
    for name in FAMILIES:
        for labels in LABELS:
            get_refiner(name).write(tmp_path / name, str(len(labels)), make_maps(labels, (37, 50)))
    command = [sys.executable, "-c", _OLD_READER, str(Path(readers.__file__).parent), str(tmp_path)]
    output = subprocess.run(command, capture_output=True, check=True, text=True, cwd=tmp_path).stdout
    assert len(output.splitlines()) == len(FAMILIES) * len(LABELS)
