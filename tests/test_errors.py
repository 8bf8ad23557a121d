"""errors: did-you-mean."""

from __future__ import annotations

from lpcam.errors import unknown


def test_the_nearest_name_is_offered_and_all_are_listed():
    message = str(unknown("layer", "layr4", ["layer4", "layer3"]))
    assert "did you mean 'layer4'?" in message
    assert message.endswith("choose from layer3, layer4")


def test_nothing_near_nothing_offered():
    assert "did you mean" not in str(unknown("layer", "zzz", ["layer4"]))


def test_long_lists_are_cut():
    assert str(unknown("name", "x", [f"n{index:03d}" for index in range(100)])).endswith("n019, … (100 in all)")
