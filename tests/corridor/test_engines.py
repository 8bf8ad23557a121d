"""corridor: the same bytes whatever the engine, the number of processes and of shards, and whoever dies on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from lpcam_cli.main import main

import lpcam.extract
from lpcam import corridor
from lpcam.corridor import classes, extraction, generation
from lpcam.engines import Placement
from lpcam.errors import LpcamError
from lpcam.profiles import get_profile
from lpcam.records import Execution
from lpcam.workspace import Workspace
from tests.conftest import make_voc
from tests.dying import DiesOnce

SCALES = (1.0, 0.5)
METHODS = ("cam", "lpcam")
PROFILE = get_profile("voc", k=3, iterations=20)
STAGES = (lpcam.extract, classes, generation)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    """Six photos are three shards in every stage."""
    monkeypatch.setattr(generation, "SHARD_SIZE", 2)


def whole(folder: Path, data, classifier, placement: Placement) -> dict[str, bytes]:
    workspace = Workspace(folder)
    corridor.extract_features(workspace, data, classifier, scales=SCALES, shard_size=2, placement=placement)
    corridor.cluster(workspace, profile=PROFILE, placement=placement)
    corridor.generate(workspace, methods=METHODS, placement=placement)
    return results(folder)


def results(folder: Path) -> dict[str, bytes]:
    kinds = ("*.safetensors", "*.json", "*.npy")
    paths = sorted(path for kind in kinds for path in folder.rglob(kind))
    assert len(paths) == 3 + 1 + 1 + 1 + 2 * (6 + 1)
    assert not list(folder.rglob("*.partial*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def kill_a_worker_of(stages, monkeypatch, folder: Path) -> None:
    for stage in stages:
        monkeypatch.setattr(stage, "map_shards", _dying(stage.map_shards, folder / f"{stage.__name__}.killed"))


def _dying(map_shards, marker):
    return lambda job, *given, **options: map_shards(DiesOnce(job, marker), *given, **options)


@pytest.fixture
def plain(tmp_path, data, classifier) -> dict[str, bytes]:
    return whole(tmp_path / "plain", data, classifier, Placement(threads=1))


def test_two_processes_one_of_them_killed(tmp_path, data, classifier, plain, monkeypatch):
    kill_a_worker_of(STAGES[::2], monkeypatch, tmp_path)
    assert whole(tmp_path / "two", data, classifier, Placement(processes=2, threads=1)) == plain
    assert len(list(tmp_path.glob("*.killed"))) == 2


@pytest.mark.ray
@pytest.mark.usefixtures("two_ray_cpus")
def test_two_ray_actors_one_of_them_killed_in_every_stage(tmp_path, data, classifier, plain, monkeypatch):
    kill_a_worker_of(STAGES, monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)  # Ray was started elsewhere
    assert whole(Path("two"), data, classifier, Placement(engine="ray", processes=2, threads=1)) == plain
    assert len(list(tmp_path.glob("*.killed"))) == 3


def command(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def sources(data, classifier) -> list[object]:
    return [
        *("--dataset", "voc", "--root", data.root, "--labels", data.labels, "--classes", data.classes),
        *("--arch", "demo", "--weights", classifier.weights, "--scales", "1,.5", "--shard-size", 2),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_shares_in_any_order_on_the_command_line(tmp_path, plain, sources, order):
    folder = tmp_path / "shares"
    for place, index in enumerate(order):
        shard = ("--shard", f"{index}/3", "--threads", 1, "-w", folder)
        result = command("extract-features", *sources, *shard)
        assert result.exit_code == 0, result.stderr
        assert (folder / "features/manifest.json").exists() == (place == 2)
        assert ("the last writes the manifest" in result.stderr) == (place < 2)
        if place < 2:
            early = command("cluster", "--k", 3, "--iterations", 20, "-w", folder)
            assert early.exit_code == 1
            assert "no manifest yet: wait for the processes that still extract" in early.stderr
    assert command("cluster", "--k", 3, "--iterations", 20, "--threads", 1, "-w", folder).exit_code == 0
    for index in order:
        result = command("generate", "--method", "cam,lpcam", "--shard", f"{index}/3", "--threads", 1, "-w", folder)
        assert result.exit_code == 0, result.stderr
    assert results(folder) == plain


def test_a_share_that_is_done_is_done(tmp_path, plain, sources):
    assert plain
    again = command("extract-features", *sources, "--shard", "1/3", "-w", tmp_path / "plain", "--json")
    assert json.loads(again.stdout)["skipped"] == 6
    again = command("generate", "--method", "cam,lpcam", "--shard", "1/3", "-w", tmp_path / "plain", "--json")
    assert (json.loads(again.stdout)["images"], json.loads(again.stdout)["skipped"]) == (0, 2)


def test_failures_of_one_share_do_not_erase_those_of_another(tmp_path, data, classifier):
    for victim in ("2007_000001", "2007_000004"):
        (data.root / f"JPEGImages/{victim}.jpg").write_bytes(b"")
    workspace = Workspace(tmp_path / "w")

    def failed() -> list[str]:
        return [json.loads(line)["name"] for line in workspace.failures.read_text().splitlines()]

    for index in (2, 0, 1):
        place = Placement(shard=f"{index}/3")
        corridor.extract_features(workspace, data, classifier, scales=SCALES, shard_size=2, placement=place)
    assert failed() == ["2007_000001", "2007_000004"]
    good = (data.root / "JPEGImages/2007_000000.jpg").read_bytes()
    (data.root / "JPEGImages/2007_000004.jpg").write_bytes(good)
    place = Placement(shard="2/3")
    corridor.extract_features(workspace, data, classifier, scales=SCALES, shard_size=2, placement=place)
    assert failed() == ["2007_000001"]


def test_batches_do_not_depend_on_what_is_left(tmp_path, data, classifier, monkeypatch):
    monkeypatch.setattr(generation, "SHARD_SIZE", 32)
    root = make_voc(tmp_path / "same", [(48, 64)] * 7)
    workspace = Workspace(tmp_path / "w")
    execution = Execution(batch_size=3)
    given = type(data)("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")
    corridor.extract_features(workspace, given, classifier, scales=SCALES, execution=execution)
    corridor.generate(workspace, methods=("cam",), execution=execution)
    folder = workspace.seeds("cam", "irn")
    before = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
    (folder / "2007_000004.npy").unlink()
    report = corridor.generate(workspace, methods=("cam",), execution=execution)
    assert report.images == 3
    assert {path.name: path.read_bytes() for path in folder.glob("*.npy")} == before


@pytest.mark.parametrize("stage", ["cluster", "run"])
def test_a_share_of_a_stage_that_needs_everything_is_refused(tmp_path, sources, stage):
    given = [*sources[:-2]] if stage == "run" else []
    result = command(stage, *given, "--shard", "0/2", "-w", tmp_path / "w")
    assert result.exit_code in (1, 2)
    assert "--shard" in result.stderr
    assert not (tmp_path / "w").exists()


def test_overwriting_the_others_is_refused(tmp_path, sources):
    result = command("extract-features", *sources, "--shard", "0/2", "--overwrite", "-w", tmp_path / "w")
    assert result.exit_code == 1
    assert "delete what the other processes write" in result.stderr


def test_an_error_in_another_process_is_the_same_one_line(tmp_path, data, classifier, monkeypatch):
    workspace = Workspace(tmp_path / "w")
    monkeypatch.setattr(extraction, "describe", _other_weights(extraction.describe))
    two = Placement(processes=2, threads=1)
    with pytest.raises(LpcamError, match="other weights than the features"):
        corridor.extract_features(workspace, data, classifier, scales=SCALES, shard_size=6, placement=two)


def test_the_precision_of_all_workers_is_settled_before_they_start(monkeypatch):
    monkeypatch.setattr(extraction, "resolve_precision", lambda precision, device: f"{precision} on {device}")
    asked = Execution("cpu", precision="auto")
    assert extraction.settled(asked, Placement(processes=2)).precision == "auto on cpu"
    assert extraction.settled(Execution(), Placement(engine="ray")) == Execution()
    with pytest.raises(LpcamError, match="name float32, bfloat16 or float16"):
        extraction.settled(asked, Placement(engine="ray"))


def _other_weights(describe):
    from dataclasses import replace

    return lambda *given: replace(describe(*given), weights_sha256="0")
