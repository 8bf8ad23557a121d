"""interrupts: the first Ctrl-C finishes what is in hand, the second does not; nothing is left of it afterwards."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

import pytest

from lpcam import corridor
from lpcam.engines import Placement, map_shards
from lpcam.interrupts import asked, deferred, stop_here
from lpcam.profiles import get_profile
from lpcam.records import silent
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import shard_files
from lpcam.workspace import Workspace
from tests.conftest import make_voc
from tests.dying import Echo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals are sent as on Linux")


@pytest.fixture(autouse=True)
def handler():
    """Ctrl-C as Python has it, before and after."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is signal.default_int_handler
    assert not asked()


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_is_noted_and_ends_the_work_where_the_work_says_so(caplog):
    done = []

    def work() -> None:
        with deferred("the page in hand"):
            stop_here()
            press()
            done.append("the rest of the page")
            stop_here()
            done.append("the next page")

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest of the page"]
    assert [record.getMessage() for record in caplog.records] == [
        "finishing the page in hand: Ctrl-C again to stop at once"
    ]


def test_the_second_ends_it_at_once_but_for_a_bounce(monkeypatch):
    monkeypatch.setattr("lpcam.interrupts._BOUNCE", 0.1)
    done = []

    def work() -> None:
        with deferred("x"):
            for index in range(3):
                press()
                press()
                done.append(index)
                time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [0]


def test_in_another_thread_or_under_another_handler_nothing_changes():
    found = []

    def enter() -> None:
        with deferred("x"):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    own = signal.signal(signal.SIGINT, lambda *_: found.append("own"))
    try:
        with deferred("x"):
            press()
    finally:
        signal.signal(signal.SIGINT, own)
    assert found == [signal.default_int_handler, "own"]


def test_no_shard_is_begun_after_it():
    done = []

    def run(shard, tick):
        if shard == 1:
            press()
        done.append(shard)

    with pytest.raises(KeyboardInterrupt):
        map_shards(None, range(4), [1] * 4, Placement(), device="cpu", here=run, stage="s", progress=silent)
    assert done == [0, 1]


def test_processes_finish_their_shards_and_begin_no_others():
    told = []
    shards = ["interrupt", *["sleep"] * 40]
    with pytest.raises(KeyboardInterrupt):
        map_shards(
            Echo(),
            shards,
            [1] * len(shards),
            Placement(processes=2),
            device="cpu",
            here=lambda shard, tick: None,
            stage="s",
            progress=lambda stage, done, total: told.append(done),
        )
    assert 1 <= max(told) < len(shards)


@pytest.fixture(scope="module")
def sources(tmp_path_factory, checkpoint):
    root = make_voc(tmp_path_factory.mktemp("voc"), [(48, 64)] * 6)
    return DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt"), ClassifierSource(
        "demo", checkpoint
    )


def pressing_at(count: int):
    """Return a progress that presses Ctrl-C when so many photos are done."""
    return lambda stage, done, total: press() if done == count and not asked() else None


def test_a_stage_keeps_what_it_had_in_hand_and_goes_on_to_the_same_bytes(sources, tmp_path):
    alone, stopped = Workspace(tmp_path / "a"), Workspace(tmp_path / "b")
    options = {"scales": (1.0,), "shard_size": 2}
    corridor.extract_features(alone, *sources, **options)
    with pytest.raises(KeyboardInterrupt):
        corridor.extract_features(stopped, *sources, **options, progress=pressing_at(3))
    assert len(shard_files(stopped.features)) == 2, "the second shard is finished, the third not begun"
    corridor.extract_features(stopped, *sources, **options)
    for path in shard_files(alone.features):
        assert (stopped.features / path.name).read_bytes() == path.read_bytes()
    corridor.cluster(alone, profile=get_profile("voc", k=3))
    with pytest.raises(KeyboardInterrupt):
        corridor.cluster(stopped, profile=get_profile("voc", k=3), progress=pressing_at(1))
    (parts,) = stopped.root.glob(".prototypes.safetensors.*-parts")
    assert [path.name for path in parts.iterdir()] == ["00000.safetensors"]
    corridor.cluster(stopped, profile=get_profile("voc", k=3))
    assert stopped.prototypes.read_bytes() == alone.prototypes.read_bytes()
    assert not parts.exists()
    corridor.generate(alone)
    with pytest.raises(KeyboardInterrupt):
        corridor.generate(stopped, progress=pressing_at(2))
    folder = stopped.seeds("lpcam", "irn")
    assert sorted(path.stem for path in folder.glob("*.npy")) == ["2007_000000", "2007_000001"]
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == 3, "two seeds and refine.sh"
    report = corridor.generate(stopped)
    assert (report.images, report.skipped) == (4, 2)
    for path in alone.seeds("lpcam", "irn").iterdir():
        if path.is_file():
            assert (folder / path.name).read_bytes() == path.read_bytes()


def test_classes_kept_of_other_hyper_parameters_are_not_taken(sources, tmp_path):
    alone, stopped = Workspace(tmp_path / "a"), Workspace(tmp_path / "b")
    for workspace in (alone, stopped):
        corridor.extract_features(workspace, *sources, scales=(1.0,))
    for method in (corridor.cluster, corridor.cluster_support):
        with pytest.raises(KeyboardInterrupt):
            method(stopped, seed=1, progress=pressing_at(1))
    assert len(list(stopped.root.glob(".*-parts"))) == 2
    for workspace in (alone, stopped):
        corridor.cluster(workspace, seed=2)
        corridor.cluster_support(workspace, seed=2)
    assert stopped.prototypes.read_bytes() == alone.prototypes.read_bytes()
    assert stopped.support.read_bytes() == alone.support.read_bytes()
    assert list(stopped.root.glob(".*-parts")) == []
