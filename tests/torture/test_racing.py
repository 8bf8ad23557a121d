"""Two runs in one workspace end as one: the short form of ``python -m tests.torture.racing``."""

from __future__ import annotations

import sys

import pytest

from tests.torture.killing import prepare, undisturbed
from tests.torture.racing import races

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked as on Linux")


def test_two_runs_at_once_end_with_the_bytes_of_one(tmp_path):
    prepare(tmp_path)
    _, expected = undisturbed(tmp_path)
    assert list(races(tmp_path, 1, expected)) == [""]
