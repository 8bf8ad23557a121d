"""engines: every shard once, in order, whoever does it; what happens when a worker fails, dies or is interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpcam.engines import Placement, Share, WorkerLost, begun_again, crew_for, map_shards
from lpcam.errors import LpcamError
from lpcam.records import silent
from tests.dying import DiesOnce, Echo, Forked, Remembers

TWO = Placement(processes=2, threads=1)


def run(job, shards, placement=TWO, progress=silent, device="cpu"):
    here = job.open("cpu")
    sizes = [1] * len(shards)
    return map_shards(job, shards, sizes, placement, device=device, here=here, stage="s", progress=progress)


@given(st.integers(0, 200), st.integers(1, 40))
def test_every_shard_is_somebodys_exactly_once(shards, count):
    items = list(range(shards))
    shares = [Share(index, count).of(items) for index in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "a/b", "1/0", "1/2/3", ""])
def test_a_shard_that_does_not_exist_is_one_line(text):
    with pytest.raises(LpcamError, match=r"i/n"):
        Placement(shard=text)


ARRAY = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RANK": "1", "WORLD_SIZE": "3"}, Share(1, 3)),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, Share(2, 4)),
        ({**ARRAY, "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "2"}, Share(3, 4)),
        ({**ARRAY, "SLURM_ARRAY_TASK_MIN": "5", "RANK": "1", "WORLD_SIZE": "2"}, Share(5, 8)),
    ],
)
def test_auto_reads_slurm_and_torchrun(environment, expected):
    assert Share.parse("auto", environment) == expected


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}, {**ARRAY, "SLURM_ARRAY_TASK_MIN": "0"}])
def test_auto_that_cannot_know_is_one_line(environment):
    with pytest.raises(LpcamError, match="i/n"):
        Share.parse("auto", environment)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rey"}, "did you mean 'ray'"),
        ({"processes": 0}, "choose 1 or more"),
        ({"threads": 0}, "choose 1 or more"),
        ({"ray_address": "auto"}, "add --engine ray"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(options, message):
    with pytest.raises(LpcamError, match=message):
        Placement(**options)


def test_the_default_is_this_process():
    told = []
    found = run(Echo(), ["a", "b"], Placement(), lambda *of: told.append(of))
    assert found == [("a", "cpu", os.getpid()), ("b", "cpu", os.getpid())]
    assert told == [("s", 0, 2), ("s", 1, 2), ("s", 2, 2)]
    assert run(Echo(), ["threads"], Placement(threads=1)) == [1]


def test_processes_share_the_shards_and_keep_their_order():
    told = []
    shards = list("abcdefgh")
    found = run(Echo(), shards, progress=lambda *of: told.append(of))
    assert [entry[0] for entry in found] == shards
    assert os.getpid() not in {entry[2] for entry in found}
    assert {entry[1] for entry in found} == {"cpu"}
    assert told[-1] == ("s", 8, 8)
    assert multiprocessing.active_children() == []


def test_a_process_has_its_part_of_the_cores():
    assert run(Echo(), ["threads"], Placement(processes=2, threads=1)) == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked")
def test_one_server_forks_the_processes_of_all_stages():
    found = set(run(Forked(), ["a", "b"]) + run(Forked(), ["a"]))
    ((server, had_torch),) = found
    assert server != os.getpid()
    assert had_torch


def test_a_killed_process_changes_nothing(tmp_path):
    found = run(DiesOnce(Echo(), tmp_path / "killed"), list("abcd"))
    assert [entry[0] for entry in found] == list("abcd")
    assert (tmp_path / "killed").exists()


@pytest.mark.parametrize(
    ("shard", "kind", "message"),
    [
        ("refuse", LpcamError, "^this cannot be done: do something else$"),
        ("die", LpcamError, "died 3 times.*exit code -9.*run the same command again"),
        ("break", RuntimeError, "KeyError: 'a bug'"),
    ],
)
def test_what_goes_wrong_in_a_worker_comes_out_and_no_process_stays(shard, kind, message):
    with pytest.raises(kind, match=message):
        run(Echo(), [shard], TWO)
    assert multiprocessing.active_children() == []


def test_an_interrupt_ends_every_process():
    def interrupt(stage, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Echo(), list("abcd"), progress=interrupt)
    assert multiprocessing.active_children() == []


def check_crew(placement, why):
    """A crew stays, answers at the same time, and a worker that died is replaced by one that knows nothing."""
    with crew_for(Remembers(), placement, device="cpu") as crew:
        assert (crew.size, crew.device) == (2, "cpu")
        first = crew.ask({0: "a", 1: "b"})
        again = crew.ask({1: "c"})
        assert {worker: answer[1:] for worker, answer in first.items()} == {0: ("cpu", "a"), 1: ("cpu", "b")}
        assert again == {1: (first[1][0], "cpu", "bc")}
        assert len({os.getpid(), first[0][0], first[1][0]}) == 3
        with pytest.raises(WorkerLost, match=why):
            crew.ask({0: "die", 1: "sleep"})
        last = crew.ask({0: "e", 1: "f"})
        assert last[0][2] == "e"
        assert last[0][0] != first[0][0]
        assert last[1] == (first[1][0], "cpu", "bcsleepf"), "the other one had answered, and nobody took that for this"
        with pytest.raises(LpcamError, match=r"^this cannot be done: do something else$"):
            crew.ask({1: "refuse"})


def test_a_crew_of_processes():
    check_crew(TWO, "exit code -9")
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_between_two_questions_is_missed_at_the_next():
    with crew_for(Remembers(), TWO, device="cpu") as crew:
        os.kill(crew.ask({0: "a", 1: "b"})[0][0], signal.SIGKILL)
        with pytest.raises(WorkerLost):
            crew.ask({0: "c"})
        assert crew.ask({0: "d"})[0][2] == "d"


def test_workers_of_a_crew_start_when_they_are_asked_and_have_their_part_of_the_cores():
    with crew_for(Echo(), TWO, device="cpu") as crew:
        assert multiprocessing.active_children() == []
        assert crew.ask({1: "threads"}) == {1: 1}
        assert len(multiprocessing.active_children()) == 1


@pytest.mark.parametrize(
    ("question", "kind", "message"), [("break", RuntimeError, "KeyError: 'a bug'"), ("a", KeyboardInterrupt, "^$")]
)
def test_no_worker_of_a_crew_stays_whatever_happens(question, kind, message):
    def ask_and_be_interrupted():
        with crew_for(Echo(), TWO, device="cpu") as crew:
            crew.ask({0: "a", 1: question})
            raise KeyboardInterrupt

    with pytest.raises(kind, match=message):
        ask_and_be_interrupted()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("deaths", [0, 2, 3])
def test_what_asks_a_crew_is_begun_three_times_at_most(deaths):
    begun = []

    def task():
        begun.append("again")
        if len(begun) <= deaths:
            raise WorkerLost("exit code -9")
        return "done"

    if deaths < 3:
        assert begun_again(task) == "done"
    else:
        with pytest.raises(
            LpcamError, match=r"died 3 times at the same task \(exit code -9.*run the same command again"
        ):
            begun_again(task)
    assert len(begun) == min(deaths + 1, 3)


def test_ray_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LpcamError, match=r"pip install 'lpcam\[ray\]'"):
        run(Echo(), ["a"], Placement(engine="ray"))


@pytest.mark.ray
@pytest.mark.usefixtures("two_ray_cpus")
def test_ray_actors_do_the_same(tmp_path):
    two = Placement(engine="ray", processes=2)
    found = run(DiesOnce(Echo(), tmp_path / "killed"), list("abcdef"), two)
    assert [entry[0] for entry in found] == list("abcdef")
    assert {entry[1] for entry in found} == {"cpu"}
    assert (tmp_path / "killed").exists()
    with pytest.raises(LpcamError, match=r"^this cannot be done: do something else$"):
        run(Echo(), ["a", "refuse"], two)
    with pytest.raises(LpcamError, match="died 3 times"):
        run(Echo(), ["die"], two)
    with pytest.raises(LpcamError, match="no GPU"):
        run(Echo(), ["a"], two, device="cuda")


@pytest.mark.ray
@pytest.mark.usefixtures("two_ray_cpus")
def test_a_crew_of_ray_actors():
    check_crew(Placement(engine="ray", processes=2), "Actor")
