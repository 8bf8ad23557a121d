"""corridor: seeds of one family turned into another's."""

from __future__ import annotations

import shutil
import sys
from itertools import permutations
from types import ModuleType

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps
from lpcam.refiners import REFINERS, Refiner, get_refiner
from lpcam.refiners.parts import PartOptions
from tests.refiners import readers
from tests.refiners.samples import make_maps

SIZE = (33, 57)
SIZED = {"b": (0, 1), "a": (1,)}
PAIRS = [pair for pair in permutations(REFINERS, 2) if "irn" in pair] + [("psa", "seam"), ("sipe", "clip-es")]


def write(folder, name, labels_of=SIZED):
    for photo, labels in labels_of.items():
        get_refiner(name).write(folder, photo, make_maps(labels, SIZE))
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npy"))}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_any_family_to_any_other(tmp_path, one, other):
    source = write(tmp_path / "in", one)
    report = corridor.convert(source, tmp_path / "out", from_refiner=one, to_refiner=other)
    assert (report.images, report.skipped, report.failures) == (2, 0, ())
    for photo, labels in SIZED.items():
        expected, found = get_refiner(one).read(source, photo), get_refiner(other).read(tmp_path / "out", photo)
        assert found.labels == labels
        values = get_refiner(other).normalised(expected.high_res.numpy())
        np.testing.assert_allclose(found.high_res.numpy(), values, atol=1e-3 if other == "clip-es" else 0)
        if other in ("irn", "lpcam", "recam", "advcam", "amn"):
            assert torch.equal(found.strided, expected.strided)


def test_there_and_back_are_the_same_bytes_where_nothing_is_lost(tmp_path):
    source = write(tmp_path / "in", "irn")
    corridor.convert(source, tmp_path / "amn", from_refiner="irn", to_refiner="amn")
    corridor.convert(tmp_path / "amn", tmp_path / "back", from_refiner="amn", to_refiner="irn")
    assert contents(tmp_path / "back") == contents(source)


def test_it_goes_on_where_it_was(tmp_path):
    source, out = write(tmp_path / "in", "irn"), tmp_path / "out"
    corridor.convert(source, out, from_refiner="irn", to_refiner="psa")
    before = contents(out)
    (out / "a.npy").unlink()
    again = corridor.convert(source, out, from_refiner="irn", to_refiner="psa")
    assert (again.images, again.skipped) == (1, 1)
    assert contents(out) == before


def test_a_damaged_seed_is_a_failure_and_the_others_are_done(tmp_path):
    source = write(tmp_path / "in", "irn")
    (source / "a.npy").write_bytes(b"junk")
    report = corridor.convert(source, tmp_path / "out", from_refiner="irn", to_refiner="psa")
    assert report.images == 1
    (failure,) = report.failures
    assert failure.name == "a"
    assert "a.npy" in failure.reason


def test_a_photo_without_classes_gets_its_size_from_the_data_set(tmp_path, data):
    names = [photo.name for photo in data.open().photos]
    for name in ("psa", "amn"):
        source = write(tmp_path / f"in-{name}", name, dict.fromkeys(names, ()))
        options = {"from_refiner": name, "to_refiner": "irn"}
        report = corridor.convert(source, tmp_path / f"blind-{name}", **options)
        assert len(report.failures) == 6
        assert "--dataset and --root" in report.failures[0].reason
        assert corridor.convert(source, tmp_path / f"out-{name}", data=data, **options).failures == ()
        content = readers.load(tmp_path / f"out-{name}/2007_000003.npy")
        assert content["high_res"].shape == (0, 33, 57)
        assert content["cam"].shape == (0, 9, 15)
        other = "seam" if name == "psa" else "psa"  # which keep no size either
        assert corridor.convert(source, tmp_path / f"c-{name}", from_refiner=name, to_refiner=other).failures == ()


def test_parts_are_made_from_seeds_that_are_there(tmp_path, data, classifier):
    pytest.importorskip("pydensecrf.densecrf")
    from tests.corridor.test_whole import run

    workspace = run(tmp_path / "w", data, classifier)
    options = {"from_refiner": "irn", "to_refiner": "psa", "parts": PartOptions(crf=True)}
    with pytest.raises(LpcamError, match="need the photos"):
        corridor.convert(workspace.seeds("lpcam", "irn"), tmp_path / "out", **options)
    report = corridor.convert(workspace.seeds("lpcam", "irn"), tmp_path / "out", data=data, **options)
    assert report.images == 6
    direct = tmp_path / "direct"
    corridor.generate(workspace, refiner="psa", parts=PartOptions(crf=True), out=direct, scales=(1.0, 0.5))
    for part in (".", "la_crf", "ha_crf"):
        assert contents(tmp_path / "out" / part) == contents(direct / part)
    assert len(contents(direct / "ha_crf")) == 6


def test_the_thresholds_are_those_of_the_method_that_made_the_seeds(tmp_path, data, classifier):
    from tests.corridor.test_whole import run

    workspace = run(tmp_path / "w", data, classifier)
    for method, threshold in (("cam", "0.30"), ("lpcam", "0.45")):
        target = tmp_path / method
        corridor.convert(workspace.seeds(method, "irn"), target, from_refiner="irn", to_refiner="amn")
        expected = {"cam": "0.45", "lpcam": "0.45"}[method]
        assert f"confidence of the foreground: {expected}" in (target / "refine.sh").read_text()
        corridor.convert(target, tmp_path / f"{method}2", from_refiner="amn", to_refiner="irn")
        assert f"confidence of the foreground: {threshold}" in (tmp_path / f"{method}2/refine.sh").read_text()


def test_what_cannot_be_converted_is_refused(tmp_path, monkeypatch):
    source = write(tmp_path / "in", "irn")
    with pytest.raises(LpcamError, match="own folder"):
        corridor.convert(source, source, from_refiner="irn", to_refiner="psa")
    with pytest.raises(LpcamError, match="holds no seeds"):
        corridor.convert(tmp_path, tmp_path / "out", from_refiner="irn", to_refiner="psa")
    with pytest.raises(LpcamError, match="--from"):
        corridor.convert(tmp_path / "nowhere", tmp_path / "out", from_refiner="irn", to_refiner="psa")
    with pytest.raises(LpcamError, match="did you mean 'psa'"):
        corridor.convert(source, tmp_path / "out", from_refiner="irn", to_refiner="pse")
    corridor.convert(source, tmp_path / "out", from_refiner="irn", to_refiner="psa")
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.convert(source, tmp_path / "out", from_refiner="irn", to_refiner="seam")
    shutil.copytree(source, tmp_path / "copy")
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.convert(tmp_path / "copy", tmp_path / "out", from_refiner="irn", to_refiner="psa")
    corridor.convert(tmp_path / "copy", tmp_path / "out", from_refiner="irn", to_refiner="seam", overwrite=True)


def test_a_family_without_a_reader_says_so(tmp_path, monkeypatch):
    class WriteOnly(Refiner):
        name = "write-only"

        def write(self, folder, name, maps: ActivationMaps) -> None:
            raise NotImplementedError

    module = ModuleType("lpcam.refiners.write_only")
    module.WriteOnly = WriteOnly
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(REFINERS, "write-only", f"{module.__name__}:WriteOnly")
    with pytest.raises(LpcamError, match="seeds of write-only are written and not read: choose from irn, lpcam"):
        corridor.convert(tmp_path, tmp_path / "out", from_refiner="write-only", to_refiner="write-only")
