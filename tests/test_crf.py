"""crf: the settings of the table, laws that hold for any dense CRF, and the package that may be missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lpcam import crf
from lpcam.errors import LpcamError


def halves(height: int = 24, width: int = 32) -> np.ndarray:
    """Return a photo whose left half is red and whose right half is blue."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 200, 200
    return pixels


def test_the_settings_are_the_tables():
    assert crf.CrfSettings(3, 3, 50, 5, 10, 10) == crf.IRN
    assert crf.CrfSettings(3, 3, 80, 13, 10, 10) == crf.PSA
    assert crf.CrfSettings(3, 3, 80, 13, 10, 3) == crf.EDAM
    assert crf.CrfSettings(1, 3, 67, 3, 4, 10) == crf.CLIP_ES
    assert crf.LABEL_CERTAINTY == 0.7


def test_labels_are_drawn_to_the_edges_of_the_photo():
    pytest.importorskip("pydensecrf.densecrf")
    labels = np.zeros((24, 32), dtype=np.int64)
    labels[:, :19] = 1  # three columns too far
    labels[10, 25] = 2  # a speck
    found = crf.crf_of_labels(halves(), labels, 3, crf.IRN)
    np.testing.assert_array_equal(found, np.where(np.arange(32) < 16, 1, 0)[None].repeat(24, axis=0))


def test_label_zero_is_as_certain_as_the_others():
    """With ``zero_unsure`` a photo that is mostly 0 would be flooded by the other label."""
    pytest.importorskip("pydensecrf.densecrf")
    labels = np.zeros((24, 32), dtype=np.int64)
    labels[:, 16:] = 1
    assert set(np.unique(crf.crf_of_labels(halves(), labels, 2, crf.IRN)[:, :16])) == {0}


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (97, 130)])
def test_a_posterior_is_a_distribution(size):
    pytest.importorskip("pydensecrf.densecrf")
    random = np.random.default_rng(0)
    scores = random.random((3, *size), dtype=np.float32)
    pixels = random.integers(0, 255, (*size, 3), dtype=np.uint8)
    for settings in (crf.PSA, crf.EDAM, crf.CLIP_ES):
        posterior = crf.crf_of_scores(pixels, scores, settings)
        assert posterior.dtype == np.float32
        assert posterior.shape == scores.shape
        np.testing.assert_allclose(posterior.sum(axis=0), 1, atol=1e-4)


def test_every_number_of_the_settings_counts():
    pytest.importorskip("pydensecrf.densecrf")
    random = np.random.default_rng(0)
    scores = random.random((2, 20, 30), dtype=np.float32)
    pixels = random.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    base = crf.crf_of_scores(pixels, scores, crf.CrfSettings(3, 3, 20, 40, 10, 5))
    for place in range(6):
        changed = [3, 3, 20, 40, 10, 5]
        changed[place] += 2
        assert not np.array_equal(crf.crf_of_scores(pixels, scores, crf.CrfSettings(*changed)), base)


def test_zero_scores_are_no_infinities():
    pytest.importorskip("pydensecrf.densecrf")
    scores = np.zeros((2, 8, 8), dtype=np.float32)
    scores[0] = 1
    assert np.isfinite(crf.crf_of_scores(halves(8, 8), scores, crf.PSA)).all()


def test_one_label_alone_needs_no_crf(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.utils", None)
    assert (
        crf.crf_of_scores(halves(), np.zeros((1, 24, 32), np.float32), crf.PSA).tolist()
        == np.ones((1, 24, 32)).tolist()
    )
    labels = np.zeros((24, 32), dtype=np.int64)
    assert crf.crf_of_labels(halves(), labels, 1, crf.IRN) is labels


def test_a_photo_of_another_size_is_refused():
    pytest.importorskip("pydensecrf.densecrf")
    with pytest.raises(ValueError, match=r"expected a photo \[8, 8, 3\], got \[24, 32, 3\]"):
        crf.crf_of_scores(halves(), np.ones((2, 8, 8), np.float32), crf.PSA)


def test_where_pydensecrf_is_missing_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(LpcamError, match=r"pip install 'lpcam\[crf\]'"):
        crf.require_crf()
