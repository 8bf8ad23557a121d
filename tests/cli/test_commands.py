"""The command line: the contract's options, JSON, exit codes and error lines, on real files."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from lpcam_cli.main import main
from PIL import Image

from lpcam.propagation import Walk
from lpcam.prototypes import Prototypes


def lpcam(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def sources(voc_root: Path, checkpoint: Path) -> list[object]:
    return [
        *("--dataset", "voc", "--root", voc_root, "--labels", voc_root / "labels.csv"),
        *("--classes", voc_root / "classes.txt", "--arch", "demo", "--weights", checkpoint),
    ]


@pytest.fixture
def extracted(sources, tmp_path) -> Path:
    """A workspace with features."""
    result = lpcam("extract-features", *sources, "--scales", "1,.5", "-w", tmp_path / "w")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "w"


def error_line(result: Result, code: int = 1) -> str:
    """Return the one line a user sees; there is no traceback and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def test_three_commands_from_photos_to_seeds_and_scores(extracted):
    for arguments in (["cluster", "--k", 3], ["generate", "--refiner", "irn", "--method", "cam,lpcam"], ["evaluate"]):
        result = lpcam(*arguments, "-w", extracted)
        assert result.exit_code == 0, result.stderr
    assert len(list((extracted / "seeds/lpcam/irn").glob("*.npy"))) == 6
    assert "mIoU" in result.stdout
    assert str(extracted / "evaluation/lpcam.json") in result.stdout


def test_image_specific_and_context_prototypes_from_photos_to_scores(extracted):
    for arguments in (
        ["cluster", "--k", 3],
        ["cluster", "--method", "pacam", "--k", 2, "--bank-size", 5],
        ["generate", "--method", "iscam,pacam", "--iscam-from", "lpcam", "--pacam-top", 2, "--no-alignment"],
        ["evaluate", "--method", "pacam"],
    ):
        result = lpcam(*arguments, "-w", extracted)
        assert result.exit_code == 0, result.stderr
        if "pacam" in arguments and "cluster" in arguments:
            assert "context prototypes" in result.stdout
            assert f"next: lpcam generate -w {extracted} --method pacam" in result.stdout
    made_by = [
        json.loads((extracted / f"seeds/{method}/irn/.lpcam-seeds.json").read_text())["made_by"]["settings"]
        for method in ("iscam", "pacam")
    ]
    assert made_by[0]["iscam_from"] == "lpcam"
    assert (made_by[1]["top"], made_by[1]["alignment"], made_by[1]["bank"]) == (2, False, True)


def test_walk_and_edges_reach_the_seeds(extracted):
    walk = ("--propagate", "--propagate-neighbours", 0.1, "--propagate-steps", 7, "--propagate-levels", 1, "--no-floor")
    result = lpcam("generate", "--method", "cam", *walk, "--pamr", "-w", extracted)
    assert result.exit_code == 0, result.stderr
    made_by = json.loads((extracted / "seeds/cam/irn/.lpcam-seeds.json").read_text())["made_by"]["propagation"]
    assert made_by["edges"] == "pamr"
    assert made_by["walk"] == {**asdict(Walk()), "neighbours": 0.1, "steps": 7, "levels": 1, "floor": False}
    assert "--overwrite" in error_line(lpcam("generate", "--method", "cam", "--edges", "pamr", "-w", extracted))


def test_switches_of_the_clustering_are_in_the_prototype_file(extracted):
    switches = ("--relative-threshold", "--weigh-sizes", "--adaptive-k")
    result = lpcam("cluster", "--k", 3, *switches, "-w", extracted)
    assert result.exit_code == 0, result.stderr
    made = Prototypes.load(extracted / "prototypes.safetensors").provenance.profile
    assert (made.relative_threshold, made.weigh_sizes, made.adaptive_k) == (True, True, True)
    assert "--overwrite" in error_line(lpcam("cluster", "--k", 3, *switches[1:], "-w", extracted))


def test_discriminants_from_photos_to_scores(extracted):
    options = ("--tau", 0.5, "--own-tau", 0.2, "--ridge", 2, "--passes", 2, "--seed", 7)
    result = lpcam("cluster", "--method", "fisher", *options, "-w", extracted)
    assert result.exit_code == 0, result.stderr
    assert f"next: lpcam generate -w {extracted} --method fisher" in result.stdout
    for arguments in (["generate", "--method", "fisher,cam"], ["evaluate", "--method", "fisher"]):
        assert lpcam(*arguments, "-w", extracted).exit_code == 0
    kept = lpcam("cluster", "--method", "fisher", *options[:-2], "-w", extracted, "--json")  # nothing is random
    assert set(json.loads(kept.stdout)["classes"]["sheep"]) == {"object_vectors", "rest_vectors"}


def test_run_makes_what_its_methods_need(sources, tmp_path):
    result = lpcam("run", *sources, "--scales", 1, "--k", 3, "--method", "pacam,fisher", "-w", tmp_path / "w", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [report["method"] for report in found["evaluate"]] == ["pacam", "fisher"]
    assert all(counts["object_vectors"] > 0 for counts in found["cluster-fisher"]["classes"].values())
    assert all(counts["context_prototypes"] > 0 for counts in found["cluster-pacam"]["classes"].values())


def test_each_stage_names_the_next_command(sources, tmp_path):
    result = lpcam("extract-features", *sources, "-w", tmp_path / "w")
    assert f"next: lpcam cluster -w {tmp_path / 'w'}" in result.stdout
    result = lpcam("cluster", "--k", 3, "-w", tmp_path / "w")
    assert "next: lpcam generate" in result.stdout
    assert "class prototypes" in result.stdout


def test_json_is_one_object_with_the_contracts_fields(sources, tmp_path):
    results = {
        "extract-features": lpcam("extract-features", *sources, "-w", tmp_path / "w", "--json"),
        "cluster": lpcam("cluster", "--k", 3, "-w", tmp_path / "w", "--json"),
        "generate": lpcam("generate", "-w", tmp_path / "w", "--json"),
        "evaluate": lpcam("evaluate", "-w", tmp_path / "w", "--json"),
    }
    stage = {"images", "skipped", "failed", "seconds", "backbone_seconds", "images_per_second"}
    fields = {
        "extract-features": stage,
        "generate": stage,
        "cluster": {"classes", "seconds"},
        "evaluate": {"method", "miou", "threshold", "precision", "recall", "per_class", "images"},
    }
    values = {name: json.loads(result.stdout) for name, result in results.items()}
    for name, result in results.items():
        assert result.exit_code == 0
        assert result.stderr == "", "no progress under --json"
        assert fields[name] <= set(values[name])
    assert set(values["cluster"]["classes"]["sheep"]) >= {
        "object_vectors",
        "rest_vectors",
        "class_prototypes",
        "context_prototypes",
    }
    assert values["extract-features"]["images"] == values["evaluate"]["images"] == 6
    assert 0 < values["generate"]["backbone_seconds"] <= values["generate"]["seconds"]


def test_run_is_everything_in_order_and_resumes(sources, tmp_path):
    arguments = ["run", *sources, "--k", 3, "--scales", "1,.5", "--method", "cam,lpcam", "-w", tmp_path / "w", "--json"]
    first, second = json.loads(lpcam(*arguments).stdout), json.loads(lpcam(*arguments).stdout)
    assert [scores["method"] for scores in first["evaluate"]] == ["cam", "lpcam"]
    assert second["generate"]["skipped"] == 6
    assert second["evaluate"] == first["evaluate"]


def test_some_failed_images_are_exit_code_3_and_all_others_are_done(sources, voc_root, tmp_path):
    victim = voc_root / "JPEGImages/2007_000003.jpg"
    victim.write_bytes(victim.read_bytes()[:200])
    result = lpcam("extract-features", *sources, "-w", tmp_path / "w", "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert (found["images"], found["failed"]) == (5, 1)
    assert found["failures"][0]["name"] == "2007_000003"
    line = json.loads((tmp_path / "w/failures.jsonl").read_text())
    assert (line["stage"], line["name"]) == ("extract-features", "2007_000003")
    assert line["reason"]
    assert lpcam("cluster", "--k", 3, "-w", tmp_path / "w").exit_code == 0


def test_strict_stops_at_the_first_photo_that_fails_and_keeps_what_is_done(sources, voc_root, tmp_path):
    victim = voc_root / "JPEGImages/2007_000003.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:200])
    line = ("extract-features", *sources, "--shard-size", 1, "-w", tmp_path / "w", "--strict")
    result = lpcam(*line)
    assert result.exit_code == 1
    assert result.stderr.count("Error: ") == 1
    assert "stopped at photo 2007_000003 (--strict): cannot read " in result.stderr
    assert len(list((tmp_path / "w/features").glob("shard-*"))) == 3
    victim.write_bytes(whole)
    assert json.loads(lpcam(*line, "--json").stdout)["skipped"] == 3
    lpcam("cluster", "--k", 3, "-w", tmp_path / "w")
    victim.write_bytes(whole[:200])
    result = lpcam("generate", "-w", tmp_path / "w", "--strict")
    assert result.exit_code == 1
    assert "stopped at photo 2007_000003 (--strict)" in result.stderr
    assert len(list((tmp_path / "w/seeds/lpcam/irn").glob("*.npy"))) == 3


def test_usage_errors_are_exit_code_2_with_the_nearest_word():
    for arguments, word in ((["clustr"], "cluster"), (["cluster", "--profil", "voc"], "--profile")):
        result = lpcam(*arguments)
        assert result.exit_code == 2
        assert word in result.stderr
    assert lpcam("extract-features").exit_code == 2


BAD = {  # what is wrong: (how it is broken, the command, what the line says, what it tells to do)
    "missing folder": (lambda root, ckpt: shutil.rmtree(root / "JPEGImages"), "JPEGImages", r"--root|folder|check"),
    "empty split": (lambda root, ckpt: list_file(root).write_text("\n"), "empty|no photo|names no", r"."),
    "missing list": (lambda root, ckpt: list_file(root).unlink(), "no list train.txt", "pass a list"),
    "name without photo": (lambda root, ckpt: append(list_file(root), "2007_999999\n"), "2007_999999", r"."),
    "label outside the classes": (
        lambda root, ckpt: replace_text(root / "labels.csv", "2007_000000,sheep", "2007_000000,shep"),
        "shep",
        "did you mean 'sheep'",
    ),
    "labels for some photos only": (
        lambda root, ckpt: (root / "labels.csv").write_text("name,classes\n2007_000000,sheep\n"),
        "2007_000001",
        r".",
    ),
    "checkpoint of another architecture": (
        lambda root, ckpt: torch.save({"layer1.0.conv1.weight": torch.zeros(2, 2)}, ckpt),
        "missing|lacks",
        r"arch",
    ),
    "NaN in the weights": (lambda root, ckpt: poison(ckpt), "NaN|finite", r"."),
    "checkpoint that is no file of torch": (lambda root, ckpt: ckpt.write_bytes(b"junk"), "demo.pth", r"."),
}


def list_file(root: Path) -> Path:
    return root / "ImageSets/Segmentation/train.txt"


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def poison(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["fc.weight"][0, 0] = float("nan")
    torch.save(state, path)


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_of_the_first_stage(case, voc_root, checkpoint, tmp_path):
    damage, what, advice = BAD[case]
    copy = tmp_path / "demo.pth"
    shutil.copy(checkpoint, copy)
    damage(voc_root, copy)
    line = error_line(
        lpcam(
            *("extract-features", "--dataset", "voc", "--root", voc_root, "--labels", voc_root / "labels.csv"),
            *("--classes", voc_root / "classes.txt", "--arch", "demo", "--weights", copy, "-w", tmp_path / "w"),
        )
    )
    assert re.search(what, line), line
    assert re.search(advice, line), line
    assert not (tmp_path / "w/features/manifest.json").exists()


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("--arch", "demmo", "did you mean 'demo'"),
        ("--dataset", "vocc", "did you mean 'voc'"),
        ("--layer", "features.9", "did you mean 'features"),
        ("--dtype", "float15", "did you mean 'float16'"),
        ("--split", "trian", "did you mean 'train'"),
        ("--stride", "7", "stride"),
        ("--scales", "1,0", "scales"),
        ("--scales", ".5", "lack 1"),
        ("--batch-size", "0", "batch size is 0"),
        ("--workers", "-1", "workers is -1"),
        ("--shard-size", "0", "shard size is 0"),
        ("--device", "cuda:7", "cuda:7"),
        ("--weights", "/nowhere/x.pth", "/nowhere/x.pth"),
        ("--head", "/nowhere/x.npy", "/nowhere/x.npy"),
        ("--labels", "/nowhere/x.csv", "/nowhere/x.csv"),
        ("--classes", "/nowhere/x.txt", "/nowhere/x.txt"),
    ],
)
def test_options_that_cannot_be_used(sources, tmp_path, option, value, what):
    assert what in error_line(lpcam("extract-features", *sources, option, value, "-w", tmp_path / "w"))
    assert not (tmp_path / "w/features/manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["cluster", "--profile", "vocc"], "did you mean 'voc'"),
        (["cluster", "--kmeans", "fais"], "did you mean 'faiss'"),
        (["cluster", "--tau", "2"], "tau is 2"),
        (["cluster", "--k", "0"], "k is 0"),
        (["cluster", "--method", "pacan"], "did you mean 'pacam'"),
        (["cluster", "--bank-size", "5"], "--bank-size needs --method pacam"),
        (["cluster", "--method", "pacam", "--context-low", ".1"], "--context-low does nothing with --method pacam"),
        (["cluster", "--method", "pacam", "--k", "0"], "k is 0"),
        (["cluster", "--ridge", "2"], "--ridge needs --method fisher"),
        (["cluster", "--method", "pacam", "--passes", "2"], "--passes does nothing with --method pacam"),
        (["cluster", "--method", "fisher", "--k", "3"], "--k does nothing with --method fisher"),
        (["cluster", "--method", "fisher", "--ridge", "0"], "ridge is 0.0: choose"),
        (["generate", "--method", "fisher"], "run 'lpcam cluster --method fisher' first"),
        (["generate", "--method", "pacam"], "run 'lpcam cluster --method pacam' first"),
        (["generate", "--method", "pacam", "--pacam-metric", "dots"], "got 'dots'"),
        (["generate", "--method", "iscam", "--iscam-from", "cams"], "did you mean 'cam'"),
        (["generate", "--method", "iscam", "--iscam-background", "2"], "choose a value in 0..1"),
        (["generate", "--method", "cam", "--propagate-restart", ".1"], "--propagate-restart does nothing without"),
        (["generate", "--method", "cam", "--no-floor"], "--no-floor does nothing without --propagate"),
        (["generate", "--method", "cam", "--propagate", "--propagate-power", "0"], "propagate-power is 0.0: choose"),
        (["generate", "--method", "cam", "--edges", "pamrr"], "did you mean 'pamr'"),
        (["generate", "--refiner", "irm"], "did you mean 'irn'"),
        (["generate", "--method", "lpcan"], "did you mean 'lpcam'"),
        (["generate", "--method", "cam", "--refiner", "sipe", "--crf"], "leave --crf out"),
        (["generate", "--method", "cam", "--refiner", "psa", "--saliency", "x"], "choose edam"),
        (["generate", "--method", "cam", "--refiner", "edam", "--saliency", "x"], "lacks the saliency maps of 6 of 6"),
        (["convert", "--from", "x", "--from-refiner", "irn", "--to", "y", "--to-refiner", "pse"], "did you mean 'psa'"),
        (["generate"], "run 'lpcam cluster' first"),
        (["generate", "--dataset", "voc"], "both --dataset and --root"),
        (["evaluate"], "run 'lpcam generate"),
        (["evaluate", "--method", "cam", "--thresholds", "1:0:.1"], "lpcam generate"),
    ],
)
def test_later_stages_refuse_what_they_cannot_use(extracted, arguments, what):
    before = sorted(path for path in extracted.rglob("*") if path.is_file())
    assert what in error_line(lpcam(*arguments, "-w", extracted))
    assert sorted(path for path in extracted.rglob("*") if path.is_file()) == before


def test_a_workspace_without_features_says_where_to_begin(tmp_path):
    for command in ("cluster", "generate"):
        assert "lpcam extract-features" in error_line(lpcam(command, "-w", tmp_path))


def test_a_half_written_shard_is_named_and_extracting_again_repairs_it(extracted, sources):
    shard = extracted / "features/shard-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    line = error_line(lpcam("cluster", "-w", extracted))
    assert "shard-00000.safetensors" in line
    assert "lpcam extract-features" in line
    assert lpcam("extract-features", *sources, "--scales", "1,.5", "-w", extracted).exit_code == 0
    assert shard.read_bytes() == whole
    assert lpcam("cluster", "--k", 3, "-w", extracted).exit_code == 0


def test_a_mask_of_another_size_is_named(extracted, voc_root):
    assert lpcam("generate", "--method", "cam", "-w", extracted).exit_code == 0
    Image.fromarray(np.zeros((5, 5), dtype=np.uint8)).save(voc_root / "SegmentationClass/2007_000002.png")
    assert "2007_000002" in error_line(lpcam("evaluate", "--method", "cam", "-w", extracted))


def test_a_seed_that_is_a_strangers_pickle_is_refused_and_not_run(extracted, tmp_path):
    assert lpcam("generate", "--method", "cam", "-w", extracted).exit_code == 0
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return Path.touch, (canary,)

    np.save(extracted / "seeds/cam/irn/2007_000000.npy", np.array(Evil(), dtype=object), allow_pickle=True)
    error_line(lpcam("evaluate", "--method", "cam", "-w", extracted))
    assert not canary.exists()


def test_output_that_cannot_be_written_is_one_line_and_the_features_stay(extracted, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = error_line(lpcam("generate", "--method", "cam", "--out", tmp_path / "file", "-w", extracted))
    assert "cannot write" in line
    assert (extracted / "features/manifest.json").is_file()


def test_seeds_of_another_family_their_next_step_and_back(extracted, tmp_path):
    result = lpcam("generate", "--method", "cam", "--refiner", "amn", "-w", extracted)
    assert result.exit_code == 0, result.stderr
    folder = extracted / "seeds/cam/amn"
    assert f"next: sh {folder.resolve() / 'refine.sh'} COMMAND" in result.stdout
    assert f"next: lpcam evaluate -w {extracted} --method cam --refiner amn" in result.stdout
    assert (folder / "refine.sh").is_file()
    assert lpcam("evaluate", "--method", "cam", "--refiner", "amn", "-w", extracted).exit_code == 0
    arguments = ["convert", "--from", folder, "--from-refiner", "amn", "--to", tmp_path / "irn", "--to-refiner", "irn"]
    first, second = (json.loads(lpcam(*arguments, "--json").stdout) for _ in range(2))
    assert (first["images"], first["failed"], second["images"], second["skipped"]) == (6, 0, 0, 6)
    assert first["next_steps"] == [f"{line}" for line in second["next_steps"]] != []
    assert "seeds of 0 photos" in lpcam(*arguments).stdout


def test_a_seed_that_cannot_be_converted_is_exit_code_3(extracted, tmp_path):
    assert lpcam("generate", "--method", "cam", "-w", extracted).exit_code == 0
    folder = extracted / "seeds/cam/irn"
    (folder / "2007_000003.npy").write_bytes(b"junk")
    arguments = ["--from", folder, "--from-refiner", "irn", "--to", tmp_path / "psa", "--to-refiner", "psa"]
    result = lpcam("convert", *arguments, "--json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert (found["images"], found["failures"][0]["name"]) == (5, "2007_000003")


def test_evaluate_says_what_the_seeds_were_made_with(extracted):
    for words in (
        ["--method", "cam,iscam", "--propagate", "--pamr"],
        ["--method", "lpcam", "--out", extracted / "own"],
    ):
        lpcam("cluster", "--k", 3, "-w", extracted)
        assert lpcam("generate", *words, "-w", extracted).exit_code == 0
    said = lpcam("evaluate", "--method", "iscam", "-w", extracted).stdout
    for what in ("seeds of iscam: scales 1,0.5; precision float32", "iscam from cam", "neighbours 0.04", "edges pamr"):
        assert what in said
    assert f"next: lpcam report -w {extracted}" in said
    as_other = lpcam("evaluate", "--method", "cam", "--seeds", extracted / "own", "-w", extracted)
    assert "doubtful: the seeds were made by lpcam, and are scored as cam" in as_other.stderr
    assert "walk no; edges no" in as_other.stdout
    record = json.loads((extracted / "evaluation/cam.json").read_text())["made_by"]
    assert (record["method"], record["scales"], "classes" in record) == ("lpcam", [1.0, 0.5], False)


def test_evaluate_over_some_classes_only(extracted):
    assert lpcam("generate", "--method", "cam", "-w", extracted).exit_code == 0
    result = lpcam("evaluate", "--method", "cam", "--mean-over", "background,sheep", "-w", extracted, "--json")
    scores = json.loads(result.stdout)
    expected = (scores["per_class"]["background"] + scores["per_class"]["sheep"]) / 2
    assert scores["miou"] == pytest.approx(expected)
    line = error_line(lpcam("evaluate", "--method", "cam", "--mean-over", "shep", "-w", extracted))
    assert "did you mean 'sheep'" in line
