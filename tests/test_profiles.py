"""profiles: the published hyper-parameters, and what is refused."""

from __future__ import annotations

import pytest

from lpcam.errors import LpcamError
from lpcam.profiles import get_profile


def test_the_published_values():
    voc, coco = get_profile("voc"), get_profile("coco")
    assert (voc.k, voc.tau, voc.class_threshold, voc.context_low, voc.context_high) == (12, 0.1, 0.9, 0.05, 0.9)
    assert (coco.k, coco.tau, coco.class_threshold, coco.context_low, coco.context_high) == (20, 0.25, 0.9, 0.0, 0.5)
    assert (voc.images_per_class, coco.images_per_class) == (0, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"tau": 1.5}, "tau is 1.5"),
        ({"restarts": 0}, "restarts is 0"),
        ({"images_per_class": -1}, "images_per_class is -1"),
        ({"context_low": 0.9}, "is not below"),
        ({"class_threshold": float("nan")}, "class_threshold"),
        ({"filter": "sofmax"}, "did you mean 'softmax'"),
    ],
)
def test_values_out_of_range(changes, message):
    with pytest.raises(LpcamError, match=message):
        get_profile("voc", **changes)


def test_unknown_profile():
    with pytest.raises(LpcamError, match="did you mean 'coco'"):
        get_profile("cocoa")
