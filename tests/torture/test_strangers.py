"""What a stranger would send is refused in one line: no bomb goes off, nothing is executed, no other file is read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lpcam.errors import LpcamError
from tests.torture.doors import doors, make_world
from tests.torture.strangers import BOMBS, SENDERS, common, packed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="some of it is for Linux")

HARMLESS = {
    "cls_labels.npy": set(),
    "seeds of irn": set(),
    "a classifier": set(),
    "a head, .npy": {"of <f2", "of >f8"},
    "prototypes": {"a description without a checksum"},
    "annotations": {"many objects", "utf-16", "an inclusion", "attributes"},
    "instances": {"runs of one", "ten thousand outlines"},
}
"""By door, what is read as it is: it asks for nothing."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that all readers read."""
    place = tmp_path_factory.mktemp("strangers") / "world"
    make_world(place)
    (place / "out").mkdir()
    (place / "secret").write_text("sheep")
    for size in BOMBS:
        packed(size)
    return place


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_stranger_sends_is_refused(world, name):
    door = next(door for door in doors() if door.name == name)
    target, canary = world / door.target, world / "canary"
    whole = target.read_bytes()
    read, lines = set(), []
    for what, data in (common(canary) | SENDERS[door.form](whole, canary)).items():
        target.write_bytes(data)
        try:
            door.enter(world)
        except LpcamError as error:
            lines.append(str(error))
        else:
            read.add(what)
    target.write_bytes(whole)
    assert read == HARMLESS[name]
    assert len(lines) >= 15
    assert all(line.isprintable() and len(line) < 2000 for line in lines)
    assert not canary.exists()
