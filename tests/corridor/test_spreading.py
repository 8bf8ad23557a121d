"""corridor.spreading: one class over several workers, and the bytes of one process, whoever dies on the way."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lpcam_cli.main import main

from lpcam import corridor
from lpcam.corridor import clustering
from lpcam.corridor.gathering import gatherer
from lpcam.corridor.spreading import Count, Hold, SpreadJob, _Worker, parts_of_blocks, spread_gatherer
from lpcam.engines import Placement, WorkerLost, crew_for
from lpcam.errors import LpcamError
from lpcam.kmeans import Take
from lpcam.kmeans.sources import BLOCK_ROWS
from lpcam.profiles import get_profile
from lpcam.prototypes import OBJECT, REST, Prototypes
from lpcam.records import silent
from lpcam.store import FeatureStore, PhotoFeatures, write_manifest, write_shard
from lpcam.workspace import Workspace
from tests.dying import DiesOnce
from tests.test_store import CHANNELS, description

GRID = (30, 40)
MANY, FEW, NONE = range(3)
"""Classes: of seven blocks or so a side, of fewer vectors than K, and without a photo."""

PROFILE = get_profile("voc", k=5, iterations=6, restarts=2)
PLAIN = Placement(threads=1)
RAY = Placement(engine="ray", processes=1)


def workers(count: int) -> Placement:
    return Placement(processes=count, threads=1)


@pytest.fixture(scope="module")
def entries() -> list[PhotoFeatures]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(24):
        labels, (height, width) = ((MANY,), GRID) if index else ((FEW,), (1, 6))
        features = torch.rand(CHANNELS, height, width, generator=generator) ** 3
        cam = torch.rand(len(labels), height, width, generator=generator) * 0.2
        made.append(PhotoFeatures(f"photo{index}", labels, (16 * height, 16 * width), features, cam))
    return made


def spoilt(entries: list[PhotoFeatures]) -> list[PhotoFeatures]:
    """Return them with zero vectors, a photo of nothing else, and a vector that is not finite."""
    changed = list(entries)
    for index in (2, 9, 17):
        features = entries[index].features.clone()
        features[:, :2] = 0.0
        changed[index] = replace(entries[index], features=features)
    changed[5] = replace(entries[5], features=torch.zeros_like(entries[5].features))
    changed[12].features[1, 3, 3] = float("nan")
    return changed


def written(folder: Path, entries: list[PhotoFeatures]) -> Workspace:
    workspace = Workspace(folder)
    what = description(classes=("many", "few", "none"), dtype="float16")
    halves = [replace(entry, features=entry.features.half()) for entry in entries]
    runs = [halves[first : first + 5] for first in range(0, len(halves), 5)]
    for index, run in enumerate(runs):
        write_shard(workspace.features, index, run, [], what, [entry.name for entry in run])
    write_manifest(workspace.features, what, len(runs), torch.eye(3, CHANNELS), {})
    return workspace


@pytest.fixture(scope="module", params=["sound", "spoilt"])
def workspace(request, tmp_path_factory, entries) -> Workspace:
    given_entries = entries if request.param == "sound" else spoilt([replace(entry) for entry in entries])
    return written(tmp_path_factory.mktemp(request.param), given_entries)


def prototypes(workspace: Workspace, placement: Placement, spread: bool, profile=PROFILE, **options) -> bytes:
    corridor.cluster(workspace, profile=profile, placement=placement, spread=spread, overwrite=True, **options)
    return workspace.prototypes.read_bytes()


class Here:
    """A crew in this process, which is quick and can be looked at; it may lose a worker at one of the questions."""

    device = "cpu"

    def __init__(self, job: SpreadJob, size: int, lost_at: int = 0) -> None:
        self.size, self.asked, self._lost_at = size, [], lost_at
        self._runners = [job.open("cpu") for _ in range(size)]

    def ask(self, questions):
        self.asked.append(dict(questions))
        if len(self.asked) == self._lost_at:
            raise WorkerLost("exit code -9")
        return {worker: self._runners[worker](question, silent) for worker, question in questions.items()}


@pytest.fixture
def crews(monkeypatch) -> list[Here]:
    """Have crews in this process, and return them."""
    made: list[Here] = []

    @contextmanager
    def of_here(job, placement, *, device):
        made.append(Here(job, placement.processes, of_here.lost_at))
        yield made[-1]

    of_here.lost_at = 0
    monkeypatch.setattr(clustering, "crew_for", of_here)
    return made


def test_the_bytes_of_three_processes_are_those_of_one(tmp_path, entries):
    workspace = written(tmp_path, spoilt(entries))
    expected = prototypes(workspace, PLAIN, spread=False)
    assert prototypes(workspace, workers(3), spread=True) == expected
    assert multiprocessing.active_children() == []


@pytest.mark.ray
@pytest.mark.usefixtures("two_ray_cpus")
def test_two_ray_actors_one_of_them_killed(tmp_path, entries, monkeypatch):
    workspace = written(tmp_path / "w", spoilt(entries))
    expected = prototypes(workspace, PLAIN, spread=False)
    kill_a_worker(monkeypatch, tmp_path / "killed", after=9)
    assert prototypes(workspace, Placement(engine="ray", processes=2, threads=1), spread=True) == expected
    assert (tmp_path / "killed").exists()


def test_a_process_that_is_killed_amid_the_iterations_changes_nothing(tmp_path, entries, monkeypatch, caplog):
    workspace = written(tmp_path / "w", entries)
    expected = prototypes(workspace, PLAIN, spread=False)
    kill_a_worker(monkeypatch, tmp_path / "killed", after=8)
    assert prototypes(workspace, workers(2), spread=True) == expected
    assert (tmp_path / "killed").exists()
    assert "begun again" in caplog.text
    assert multiprocessing.active_children() == []


def kill_a_worker(monkeypatch, marker: Path, after: int) -> None:
    monkeypatch.setattr(
        clustering, "crew_for", lambda job, *of, **options: crew_for(DiesOnce(job, marker, after), *of, **options)
    )


@pytest.mark.parametrize("count", [1, 3, 5, 40])
def test_the_bytes_are_the_same_whatever_the_number_of_workers(workspace, crews, count):
    expected = prototypes(workspace, PLAIN, spread=False)
    assert prototypes(workspace, workers(count) if count > 1 else RAY, spread=True) == expected
    many, few, none = Prototypes.load(workspace.prototypes).centres
    assert min(many.object_vectors, many.rest_vectors) > 3 * BLOCK_ROWS
    assert 0 < few.object_vectors + few.rest_vectors <= 6
    assert none.object_vectors + none.rest_vectors == 0
    assert crews[0].size == count


@pytest.mark.parametrize("lost_at", [1, 2, 3, 4, 5, 25])
def test_a_worker_lost_at_any_question_changes_nothing(workspace, crews, lost_at):
    expected = prototypes(workspace, PLAIN, spread=False)
    clustering.crew_for.lost_at = lost_at
    assert prototypes(workspace, workers(3), spread=True) == expected
    assert len(crews[0].asked) > lost_at


def test_workers_that_die_every_time_are_one_line(workspace, crews, monkeypatch):
    workspace.prototypes.unlink(missing_ok=True)
    asked = []
    monkeypatch.setattr(Here, "ask", lambda self, questions: asked.append(1) or _raise(WorkerLost("exit code -9")))
    with pytest.raises(LpcamError, match=r"died 3 times.*exit code -9.*what is done is kept"):
        prototypes(workspace, workers(2), spread=True)
    assert len(asked) == 3
    assert not workspace.prototypes.exists()


def _raise(error: Exception) -> None:
    raise error


PROFILES = {
    "voc": PROFILE,
    "coco, drawn with replacement": get_profile("coco", images_per_class=30),
    "drawn without": get_profile("coco", images_per_class=7, draw="without"),
}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_the_rows_are_those_of_one_process(workspace, profile, size):
    store, job = FeatureStore(workspace.features), SpreadJob(workspace.features, profile, 7)
    whole, crew = gatherer(store, profile, 7, "cpu"), Here(job, size)
    spread = spread_gatherer(store, profile, 7, crew)
    for label in (MANY, FEW, NONE):
        for side in (OBJECT, REST):
            expected, found = whole(label, side), spread(label, side)
            assert len(found.usable) == len(expected)
            assert torch.equal(found.usable, expected.isfinite().all(1))
            rows = list(range(0, len(expected), 97))
            assert torch.equal(found.take(rows).nan_to_num(9.0), expected[rows].nan_to_num(9.0))


def test_features_are_read_once_and_again_only_where_zero_vectors_were_counted(workspace):
    crew = Here(SpreadJob(workspace.features, PROFILE, 0), 3)
    spread_gatherer(FeatureStore(workspace.features), PROFILE, 0, crew)(MANY, OBJECT)
    kinds = [{type(question) for question in questions.values()} for questions in crew.asked]
    assert kinds == [{Count}, {Hold}, {Hold}] if "spoilt" in str(workspace.root) else [{Count}, {Hold}]


def test_a_worker_reads_the_photos_of_its_part_and_a_count_reads_no_features(workspace, monkeypatch):
    read = []
    rows = FeatureStore.rows
    monkeypatch.setattr(FeatureStore, "rows", lambda self, photos: rows(self, (read.append(p) or p for p in photos)))
    crew = Here(SpreadJob(workspace.features, PROFILE, 0), 3)
    crew.ask({worker: Count(MANY, REST, range(3)) for worker in range(3)})
    assert read == []
    crew.ask({0: Hold(MANY, REST, range(4, 6), 10, 100, 64)})
    assert [photo.name for photo in read] == ["photo5", "photo6"]


def test_a_worker_lets_one_side_go_before_the_next(workspace):
    worker = _Worker(FeatureStore(workspace.features), PROFILE, 0, "cpu")
    worker.answer(Hold(MANY, REST, range(1), 0, 10, 64), silent)
    assert worker.answer(Take((0,)), silent).shape == (1, CHANNELS)
    worker.answer(Count(MANY, OBJECT, range(0)), silent)
    with pytest.raises(ValueError, match="expected a part to be held before Take"):
        worker.answer(Take((0,)), silent)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 7), st.integers(1, 6))
def test_parts_are_whole_blocks_of_all_rows_and_touch_no_photo_too_many(counts, block_rows, workers):
    rows = [(photo, row) for photo, count in enumerate(counts) for row in range(count)]
    parts = parts_of_blocks(counts, block_rows, workers)
    blocks = -(-len(rows) // block_rows)
    assert len(parts) == min(workers, blocks)
    ends = list(accumulate(size for _, _, size in parts))
    assert all(end % block_rows == 0 for end in ends[:-1])
    assert (ends[-1] if ends else 0) == len(rows)
    for end, (photos, skip, size) in zip(ends, parts, strict=True):
        own = rows[end - size : end]
        assert own == [row for row in rows if row[0] in photos][skip : skip + size]
        assert {photos[0], photos[-1]} <= {photo for photo, _ in own}
    shares = [-(-size // block_rows) for _, _, size in parts]
    assert max(shares, default=0) - min(shares, default=0) <= 1


@pytest.mark.usefixtures("crews")
def test_an_interrupted_run_goes_on_in_one_process_to_the_same_bytes(tmp_path, entries):
    workspace = written(tmp_path / "w", entries)

    def interrupt(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corridor.cluster(workspace, profile=PROFILE, placement=workers(2), spread=True, progress=interrupt)
    (parts,) = workspace.root.glob(".prototypes.safetensors.*-parts")
    assert len(list(parts.iterdir())) == 2
    corridor.cluster(workspace, profile=PROFILE, placement=PLAIN)
    assert workspace.prototypes.read_bytes() == prototypes(workspace, PLAIN, spread=False)


@pytest.mark.usefixtures("crews")
def test_features_that_are_damaged_are_the_same_one_line_from_a_worker(tmp_path, entries):
    workspace = written(tmp_path / "w", entries)
    shard = workspace.features / "shard-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(LpcamError, match=r"shard-00002.*checksum"):
        prototypes(workspace, workers(2), spread=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spread"], "add --processes N or --engine ray"),
        (["--spread", "--processes", "1"], "add --processes N or --engine ray"),
        (["--spread", "--processes", "2", "--kmeans", "faiss"], "leave --kmeans faiss out"),
        (["--spread", "--processes", "2", "--shard", "0/2"], "does not take --shard"),
        (["--spread", "--processes", "2", "--method", "pacam"], "--spread does nothing with --method pacam"),
        (["--spread", "--processes", "2", "--method", "fisher"], "--spread does nothing with --method fisher"),
    ],
)
def test_what_cannot_be_spread_is_one_line(tmp_path, options, message):
    result = CliRunner().invoke(main, ["cluster", *options, "-w", str(tmp_path / "w")])
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "w").exists()


def test_features_in_memory_are_not_spread(tmp_path):
    with pytest.raises(ValueError, match="features in memory"):
        corridor.cluster(Workspace(tmp_path), placement=workers(2), spread=True, features=object())


def test_the_command_spreads(tmp_path, entries, crews):
    workspace = written(tmp_path / "w", entries)
    expected = prototypes(workspace, PLAIN, spread=False)
    options = ("--k", 5, "--iterations", 6, "--restarts", 2, "--processes", 2, "--threads", 1, "--spread")
    result = CliRunner().invoke(
        main, [str(part) for part in ("cluster", *options, "--overwrite", "-w", workspace.root)]
    )
    assert result.exit_code == 0, result.stderr
    assert workspace.prototypes.read_bytes() == expected
    assert [crew.size for crew in crews] == [2]
