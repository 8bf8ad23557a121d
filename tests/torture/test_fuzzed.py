"""Strangers' files through every reader: the short form of ``python -m tests.torture.fuzzing``."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lpcam.errors import LpcamError
from tests.torture.doors import doors, make_world
from tests.torture.mutations import npy_of
from tests.torture.strangers import SENDERS, canaries, saved

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and watched as on Linux")

ROOT = Path(__file__).parents[2]


def fuzzing(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer in a process that has not computed, so that it may fork."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.torture.fuzzing", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_two_thousand_files_do_no_harm():
    found = fuzzing("--inputs", "2000", "--part", "16", "--seed", "0")
    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    rows = [line for line in found.stdout.splitlines()[1:-1] if not line.startswith(" ")]
    assert [row[:45].rstrip() for row in rows] == [door.name for door in doors()]
    assert sum(int(row[45:].split()[0]) for row in rows) >= 2000
    assert found.stdout.splitlines()[-1].endswith("0 of them did what must not be")


def test_every_file_of_a_workspace_and_of_a_data_set_has_its_door():
    targets = {door.target for door in doors()}
    for name in ("prototypes", "support", "fisher", "features/class_weights", "features/shard-00000"):
        assert f"w/{name}.safetensors" in targets
    assert {"w/features/manifest.json", "w/failures.jsonl", "w/evaluation/lpcam.json"} <= targets
    assert {"voc/labels.csv", "voc/cls_labels.npy", "voc/Annotations/2007_000000.xml"} <= targets


# ------------------------------------------------------------------------------------------ canaries

PICKLED = [door for door in doors() if door.form in ("dictionary", "array", "torch")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that all readers read."""
    place = tmp_path_factory.mktemp("strangers") / "world"
    make_world(place)
    (place / "out").mkdir()
    return place


@pytest.mark.parametrize("door", PICKLED, ids=lambda door: door.name)
def test_no_reader_runs_what_a_file_asks_for(world, door):
    target, canary = world / door.target, world / "canary"
    whole = target.read_bytes()
    files = SENDERS[door.form](whole, canary).items()
    sent = {what: data for what, data in files if "os.system" in what or "eval" in what}
    assert len(sent) >= 2
    for what, data in sent.items():
        target.write_bytes(data)
        if door.arrange:
            door.arrange(world)
        with contextlib.suppress(LpcamError):
            door.enter(world)
        assert not canary.exists(), what
    target.write_bytes(whole)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.open"])
def test_the_canary_sings_where_it_is_let(tmp_path, name):
    canary = tmp_path / "canary"
    call = canaries(canary)[name]
    readers = {
        "zip": lambda: torch.load(io.BytesIO(saved(call)), weights_only=False),
        "first format": lambda: torch.load(io.BytesIO(saved(call, zip_format=False)), weights_only=False),
        "dictionary": lambda: np.load(io.BytesIO(npy_of(call)), allow_pickle=True),
    }
    for read in readers.values():
        read()
        assert canary.exists()
        canary.unlink()
