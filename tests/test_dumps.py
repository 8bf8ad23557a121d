"""dumps: the published code's files by hand, in every form that is taken, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lpcam.dumps import (
    CLASS_FILE,
    FEATURE_FILE,
    LABEL_FILE,
    NAME_FILE,
    FeatureDump,
    prototypes_from,
    read_class_vectors,
)
from lpcam.errors import LpcamError
from lpcam.methods.lpcam import Lpcam
from lpcam.pickles import save_dictionary
from lpcam.prototypes import Provenance
from lpcam.records import ViewFeatures
from lpcam.views import merge_scales

CLASSES = ("cat", "dog")
VECTORS = torch.arange(12.0).view(2, 2, 3)


def saved(folder: Path, value: object) -> Path:
    torch.save(value, folder / CLASS_FILE)
    return folder / CLASS_FILE


@pytest.mark.parametrize(
    "value",
    [{0: VECTORS[0], 1: VECTORS[1]}, {1: VECTORS[1].half(), 0: VECTORS[0]}, list(VECTORS), tuple(VECTORS), VECTORS],
    ids=["dictionary", "any order, half", "list", "tuple", "stack"],
)
def test_every_form_is_taken(tmp_path, value):
    found = read_class_vectors(saved(tmp_path, value), CLASSES, 3)
    assert [tensor.dtype for tensor in found] == [torch.float32] * 2
    assert torch.equal(torch.stack(found), VECTORS)


def test_one_prototype_none_and_files_of_old_torch(tmp_path):
    torch.save({0: VECTORS[0, 1], 1: torch.zeros(0)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    one, none = read_class_vectors(tmp_path / "old.pt", CLASSES, 3)
    assert one.tolist() == [[3, 4, 5]]
    assert none.shape == (0, 3)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("canary",)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1: VECTORS[0], 2: VECTORS[1]}, r"classes 1\.\.2 \(2 of them\), expected 0\.\.1: give .* --classes"),
        ({0: VECTORS[0]}, r"classes 0\.\.0 \(1 of them\), expected 0\.\.1"),
        ({"cat": VECTORS[0], "dog": VECTORS[1]}, "no dictionary, list or stack of tensors"),
        ([[1.0], [2.0]], "no dictionary, list or stack"),
        (VECTORS[0, 0], "no dictionary, list or stack"),
        ({}, "no dictionary, list or stack"),
        (VECTORS[:, :, :2], r"\[2, 2\] of 'cat', expected \[P, 3\]: give the classifier"),
        (VECTORS.long(), "expected"),
        (VECTORS / 0, "of 'cat' that are not finite"),
        ({0: VECTORS[0], 1: Evil()}, "more than tensors, and was not unpickled"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, value, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LpcamError, match=reason):
        read_class_vectors(saved(tmp_path, value), CLASSES, 3)
    assert not (tmp_path / "canary").exists()


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(LpcamError, match=r"nowhere\.pt does not exist"):
        read_class_vectors(tmp_path / "nowhere.pt", CLASSES, 3)
    path = saved(tmp_path, VECTORS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LpcamError, match="is damaged"):
        read_class_vectors(path, CLASSES, 3)


def test_imported_prototypes_are_all_selected_and_scored_by_the_classifier():
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    objects, context = [torch.eye(2)[:1], torch.eye(2)[1:]], [torch.zeros(0, 2), torch.eye(2)[:1]]
    made = prototypes_from(objects, context, weights, Provenance(("a", "b")))
    assert made.folded().tolist() == [[1, 0], [-1, 1]]
    assert made.centres[1].scores.tolist() == pytest.approx([np.e / (np.e + 1), 1 / (np.e + 1)])
    assert made.provenance.features.startswith("imported:")
    swapped = prototypes_from(context, objects, weights, Provenance(("a", "b")))
    assert swapped.provenance.features != made.provenance.features


# ------------------------------------------------------------------------------------------- features


def write_dump(folder: Path, features: object, labels: object, numbers: dict) -> FeatureDump:
    torch.save(features, folder / FEATURE_FILE)
    torch.save(labels, folder / LABEL_FILE)
    save_dictionary(folder / NAME_FILE, numbers)
    return FeatureDump.open(folder)


def test_a_feature_dump_by_hand(tmp_path):
    features = {0: torch.ones(3, 2, 4), 1: torch.zeros(3, 1, 1)}
    labels = {0: torch.tensor([1.0, 1.0]), 1: torch.tensor([0.0, 0.0])}
    dump = write_dump(tmp_path, features, labels, {"b": 1, "a": 0})
    found, classes = dump.photo("a", 2, 3)
    assert (found.shape, classes) == ((3, 2, 4), (0, 1))
    assert dump.photo("b", 2, 3)[1] == ()
    with pytest.raises(LpcamError, match="has no features of 'c': pass the --split"):
        dump.photo("c", 2, 3)
    with pytest.raises(LpcamError, match=r"features \[3, 2, 4\] of 'a', expected finite ones of \[4, h, w\]"):
        dump.photo("a", 2, 4)
    with pytest.raises(LpcamError, match="no 0/1 labels of 3 classes for 'a'"):
        dump.photo("a", 3, 3)
    with pytest.raises(LpcamError, match="does not give a number to every name"):
        write_dump(tmp_path, features, labels, {"a": "x"})


# ---------------------------------------------------------------------------------------- golden maps


@pytest.mark.real
def test_golden_prototypes_imported_give_the_golden_maps(real_data, tmp_path):
    golden = np.load(real_data / "parity/prototypes.npz")
    for kind in ("class", "context"):
        entries = {label: torch.zeros(0, 2048) for label in range(20)}
        entries |= {label: torch.tensor(golden[f"{kind}_prototypes_{label}"]) for label in (3, 11)}
        torch.save(entries, tmp_path / f"{kind}.pt")
    names = tuple(map(str, range(20)))
    vectors = [read_class_vectors(tmp_path / f"{kind}.pt", names, 2048) for kind in ("class", "context")]
    made = prototypes_from(*vectors, torch.tensor(golden["classifier_weight"]), Provenance(names))
    for centres in (made.centres[3], made.centres[11]):
        assert float(centres.scores[centres.is_object].min()) > 0.9, "as the published selection asks"
    method = Lpcam(made.folded())
    for index in range(1, 6):
        photo = np.load(real_data / f"parity/2007_{index:06d}.npz")
        views = [torch.tensor(photo[f"features_u8_scale{scale}"]).float() / 32 for scale in range(4)]
        labels, size = tuple(photo["labels"].tolist()), tuple(photo["size"].tolist())
        maps = merge_scales(
            [method.view_maps(ViewFeatures(view), labels) for view in views], labels, size, method.epsilon
        )
        assert np.abs(maps.high_res.numpy() - photo["lpcam_high_res"]).max() < 1e-5
        assert np.abs(maps.strided.numpy() - photo["lpcam_strided"]).max() < 1e-5
