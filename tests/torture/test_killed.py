"""A run that is killed leaves no trace: the short form of ``make torture``."""

from __future__ import annotations

import sys

import pytest

from tests.torture.killing import STAGES, prepare, trials, undisturbed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and killed as on Linux")


def test_a_run_killed_at_any_instant_ends_with_the_bytes_of_one_left_alone(tmp_path):
    prepare(tmp_path)
    seconds, expected = undisturbed(tmp_path)
    assert {"prototypes.safetensors", "seeds/lpcam/irn/train_0008.npy", "report/index.html"} <= set(expected)
    found = list(trials(tmp_path, 3, seconds, expected))
    assert [(trial.failed, trial.differing) for trial in found] == [("", ())] * 3
    assert any(0 < trial.stage < len(STAGES) for trial in found)
