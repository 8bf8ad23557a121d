"""errors: did-you-mean."""

from __future__ import annotations

import pickle

from lpcam.errors import LpcamError, unknown


def test_the_nearest_name_is_offered_and_all_are_listed():
    message = str(unknown("layer", "layr4", ["layer4", "layer3"]))
    assert "did you mean 'layer4'?" in message
    assert message.endswith("choose from layer3, layer4")


def test_nothing_near_nothing_offered():
    assert "did you mean" not in str(unknown("layer", "zzz", ["layer4"]))


def test_long_lists_are_cut():
    assert str(unknown("name", "x", [f"n{index:03d}" for index in range(100)])).endswith("n019, … (100 in all)")


def test_what_a_stranger_wrote_stays_one_line_that_prints() -> None:
    error = LpcamError("no class 'a\nb\x1b[2J\u202e\ud800\u2028': correct it")
    assert str(error) == "no class 'a b\\x1b[2J\\u202e\\ud800 ': correct it"
    assert str(error).encode()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # as it comes from another process
    long = LpcamError(f"no class '{'x' * 10**6}': correct it")
    assert len(str(long)) < 2000
    assert str(long).startswith("no class 'x")
    assert str(long).endswith("x': correct it")
