from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from lpcam.errors import LpcamError
from lpcam.pickles import save_dictionary
from lpcam.records import ActivationMaps
from lpcam.refiners import REFINERS, get_refiner

SIZES = [(1, 1), (97, 130), (375, 500)]
LABELS = [(), (4,), (0, 7, 19)]


def make_maps(labels, size):
    height, width = size
    generator = torch.Generator().manual_seed(0)
    return ActivationMaps(
        labels,
        torch.rand(len(labels), (height - 1) // 4 + 1, (width - 1) // 4 + 1, generator=generator),
        torch.rand(len(labels), height, width, generator=generator),
    )


def as_irn_reads(path):
    """The access pattern of IRN's eval_cam, cam_to_ir_label and make_sem_seg_labels."""
    return np.load(path, allow_pickle=True).item()


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("size", SIZES)
def test_irn_reads_what_was_written(tmp_path, labels, size):
    height, width = size
    maps = make_maps(labels, size)
    get_refiner("irn").write(tmp_path, "2007_000032", maps)

    content = as_irn_reads(tmp_path / "2007_000032.npy")
    assert set(content) == {"keys", "cam", "high_res"}
    assert torch.is_tensor(content["keys"])
    assert content["keys"].dtype == torch.int64
    assert content["keys"].tolist() == list(labels)
    assert torch.is_tensor(content["cam"])  # the reader calls .cuda() on it
    assert content["cam"].dtype == torch.float32
    assert content["cam"].shape == (len(labels), (height - 1) // 4 + 1, (width - 1) // 4 + 1)
    assert isinstance(content["high_res"], np.ndarray)
    assert content["high_res"].dtype == np.float32
    assert content["high_res"].shape == (len(labels), height, width)
    np.testing.assert_array_equal(content["high_res"], maps.high_res.numpy())
    assert torch.equal(content["cam"], maps.strided)

    # eval_cam and make_sem_seg_labels
    padded = np.pad(content["high_res"], ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=0.15)
    keys = np.pad(content["keys"] + 1, (1, 0), mode="constant")
    seeds = keys[np.argmax(padded, axis=0)]
    assert seeds.shape == size
    assert set(np.unique(seeds)) <= {0, *(label + 1 for label in labels)}
    assert torch.nn.functional.pad(content["cam"], (0, 5, 0, 5)).shape[0] == len(labels)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("size", SIZES)
def test_irn_round_trip(tmp_path, labels, size):
    refiner, maps = get_refiner("irn"), make_maps(labels, size)
    refiner.write(tmp_path, "a", maps)
    back = refiner.read(tmp_path, "a")
    assert back.labels == labels
    assert torch.equal(back.strided, maps.strided)
    assert torch.equal(back.high_res, maps.high_res)


def test_same_maps_same_bytes(tmp_path):
    refiner = get_refiner("irn")
    refiner.write(tmp_path, "a", make_maps((1, 2), (40, 30)))
    refiner.write(tmp_path, "b", make_maps((1, 2), (40, 30)))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_old_numpy_can_import_every_module_named(tmp_path):
    get_refiner("irn").write(tmp_path, "a", make_maps((1, 2), (40, 30)))
    data = (tmp_path / "a.npy").read_bytes()
    assert data.startswith(b"\x93NUMPY\x01\x00")
    assert b"numpy._core" not in data
    assert b"numpy.core.multiarray" in data


def test_a_view_does_not_drag_its_storage_along(tmp_path):
    whole = make_maps((0, 1, 2, 3), (128, 128))
    for name, pick in [("front", slice(1, 2)), ("step", slice(0, 4, 3))]:
        part = ActivationMaps((0, 1)[: len(whole.labels[pick])], whole.strided[pick], whole.high_res[pick])
        get_refiner("irn").write(tmp_path, name, part)
        payload = 4 * (part.strided.numel() + part.high_res.numel())
        assert (tmp_path / f"{name}.npy").stat().st_size < payload + 2000
    transposed = ActivationMaps((5,), whole.strided[:1].mT, whole.high_res[:1].mT)
    get_refiner("irn").write(tmp_path, "transposed", transposed)
    back = as_irn_reads(tmp_path / "transposed.npy")
    np.testing.assert_array_equal(back["high_res"], whole.high_res[:1].mT.numpy())
    assert torch.equal(back["cam"], whole.strided[:1].mT)


def test_seeds_of_the_lpcam_repository_are_read(tmp_path):
    maps = make_maps((3, 6), (9, 14))
    theirs = {"keys": np.array([3, 6]), "cam": maps.strided, "high_res": maps.high_res}
    save_dictionary(tmp_path / "a.npy", theirs)
    back = get_refiner("irn").read(tmp_path, "a")
    assert back.labels == (3, 6)
    assert torch.equal(back.high_res, maps.high_res)


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "a\\b", ".hidden", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    refiner = get_refiner("irn")
    with pytest.raises(LpcamError, match="rename the photo"):
        refiner.write(tmp_path / "seeds", name, make_maps((1,), (8, 8)))
    with pytest.raises(LpcamError, match="rename the photo"):
        refiner.read(tmp_path / "seeds", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["2007_000032", "COCO_train2014_000000000009", "photo 1.v2", "köln"])
def test_names_stay_as_the_data_set_spells_them(tmp_path, name):
    get_refiner("irn").write(tmp_path, name, make_maps((1,), (8, 8)))
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.npy"]


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (ActivationMaps((1,), torch.zeros(1, 3, 2), torch.zeros(1, 8, 8)), r"strided \[1, 2, 2\]"),
        (ActivationMaps((1, 2), torch.zeros(1, 2, 2), torch.zeros(1, 8, 8)), r"high_res \[2, H, W\]"),
        (ActivationMaps((1,), torch.zeros(1, 2, 2), torch.zeros(8, 8)), r"high_res \[1, H, W\]"),
        (ActivationMaps((1,), torch.zeros(1, 2, 2).double(), torch.zeros(1, 8, 8)), "float32"),
        (ActivationMaps((1,), torch.zeros(1, 2, 2), torch.zeros(1, 8, 8).half()), "float32"),
        (ActivationMaps((1,), torch.full((1, 2, 2), torch.nan), torch.zeros(1, 8, 8)), "finite"),
        (ActivationMaps((1,), torch.zeros(1, 2, 2), torch.full((1, 8, 8), torch.inf)), "finite"),
    ],
)
def test_maps_that_a_reader_would_trip_over_are_not_written(tmp_path, maps, message):
    with pytest.raises(ValueError, match=message):
        get_refiner("irn").write(tmp_path, "a", maps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"keys": torch.tensor([1]), "high_res": np.zeros((1, 8, 8), np.float32)}, "no 'cam'"),
        ({0: np.zeros((8, 8), np.float32)}, "no 'keys'"),
        (
            {"keys": torch.tensor([0.5]), "cam": torch.zeros(1, 2, 2), "high_res": np.zeros((1, 8, 8), np.float32)},
            "integer keys",
        ),
        (
            {"keys": torch.tensor([1]), "cam": torch.zeros(1, 2, 2), "high_res": np.zeros((1, 9, 8), np.float32)},
            r"strided \[1, 3, 2\]",
        ),
        ({"keys": torch.tensor([1]), "cam": "x", "high_res": np.zeros((1, 9, 8), np.float32)}, "IRN seeds"),
    ],
)
def test_files_of_another_family_are_refused(tmp_path, content, why):
    save_dictionary(tmp_path / "a.npy", content)
    with pytest.raises(LpcamError, match=f"{why}.*run 'lpcam generate' again"):
        get_refiner("irn").read(tmp_path, "a")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LpcamError, match=r"a\.npy"):
        get_refiner("irn").read(tmp_path, "a")


def test_an_unknown_refiner_gets_the_nearest():
    with pytest.raises(LpcamError, match="did you mean 'irn'"):
        get_refiner("irm")


@pytest.mark.parametrize("name", sorted(REFINERS))
def test_every_family_knows_its_name(name):
    assert get_refiner(name).name == name


def test_listing_the_refiners_does_not_import_torch():
    code = "import lpcam.refiners, sys; assert lpcam.refiners.REFINERS; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
