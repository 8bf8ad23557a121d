"""verification: a whole run is sound; every damage is named, with a repair that makes it sound again."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main
from safetensors import safe_open

from lpcam import corridor, tensorfile
from lpcam.checksums import SUMS, journal, settle
from lpcam.errors import LpcamError
from lpcam.files import write_json
from lpcam.pickles import load_dictionary, save_dictionary
from lpcam.profiles import get_profile
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import PhotoFeatures, read_manifest, write_manifest, write_shard
from lpcam.verification import verify
from lpcam.workspace import SEED_RECORD, Workspace
from tests.conftest import make_voc

UNCHECKED = ("report/index.html", ".lock")


@pytest.fixture(scope="module")
def made(tmp_path_factory, checkpoint) -> Workspace:
    """A whole run of four photos."""
    folder = tmp_path_factory.mktemp("verified")
    root = make_voc(folder / "data", [(48, 64), (64, 48), (48, 64), (33, 57)])
    workspace = Workspace(folder / "w")
    data = DataSource("voc", root, labels=root / "labels.csv", classes=root / "classes.txt")
    classifier = ClassifierSource("demo", checkpoint)
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), shard_size=2)
    corridor.cluster(workspace, profile=get_profile("voc", k=3))
    corridor.cluster_support(workspace)
    corridor.cluster_discriminants(workspace)
    corridor.generate(workspace, methods=("cam", "lpcam"))
    corridor.generate(workspace, methods=("cam",), refiner="sipe")
    corridor.evaluate(workspace, method="cam")
    return workspace


@pytest.fixture
def workspace(made, tmp_path) -> Workspace:
    return Workspace(shutil.copytree(made.root, tmp_path / "w"))


def test_a_whole_run_is_sound_and_nothing_is_changed(workspace):
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    verdict = verify(workspace)
    assert verdict.problems == ()
    assert verdict.is_sound
    assert verdict.checked == {"features": 4, "centres": 3, "seeds": 3 * 5, "evaluation": 1}
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


def test_every_byte_of_every_file_is_watched(workspace):
    rng = random.Random(0)
    files = sorted(path for path in workspace.root.rglob("*") if path.is_file() and path.stat().st_size)
    watched = [path for path in files if not path.as_posix().endswith(UNCHECKED)]
    assert len(watched) > 20
    for path in watched:
        content = path.read_bytes()
        for _ in range(3):
            place = rng.randrange(len(content))
            changed = bytearray(content)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            same = path.suffix in (".json", ".jsonl") and as_json(changed) == as_json(content)
            assert same or not verify(workspace).is_sound, f"byte {place} of {path}"
        path.write_bytes(content)
    assert verify(workspace).is_sound


def as_json(content: bytes) -> object:
    """Return what JSON says: a space more in it is no damage."""
    try:
        return json.loads(content)
    except ValueError:
        return content


def flip(path: Path, offset: int = -60) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def shard_with(**changes: object) -> Callable[[Workspace], None]:
    """Write the first shard anew, with a checksum that holds, and other values."""

    def write(workspace: Workspace) -> None:
        manifest = read_manifest(workspace.features)
        path = workspace.features / manifest.shards[0].file
        header = tensorfile.description_of(path, "lpcam")
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, value in changes.items():
            if name in tensors:
                tensors[name][3] = value
            else:
                header["photos"][0][name] = value
        tensorfile.save(path, tensors, "lpcam", json.dumps(header))
        with safe_open(workspace.features / "class_weights.safetensors", framework="pt") as file:
            weights = file.get_tensor("class_weights")
        write_manifest(workspace.features, manifest.description, len(manifest.shards), weights, manifest.sources)

    return write


def other_class_weights(workspace: Workspace) -> None:
    manifest = read_manifest(workspace.features)
    write_manifest(workspace.features, manifest.description, 2, torch.zeros(3, 5), manifest.sources)


def seed_with(value: float) -> Callable[[Workspace], None]:
    """Write a seed anew, with a checksum that holds, and another value in it."""

    def write(workspace: Workspace) -> None:
        folder = workspace.seeds("cam", "irn")
        path = folder / "2007_000001.npy"
        content = load_dictionary(path)
        content["high_res"] = np.array(content["high_res"])
        content["high_res"][0, 0, 0] = value
        save_dictionary(path, content)
        journal(folder, "t")(path)
        settle(folder, None)

    return write


def other_scores(workspace: Workspace) -> None:
    path = workspace.evaluation("cam")
    write_json(path, {**json.loads(path.read_text()), "miou": 1.5, "sha256": None})


def unnoted_seed(workspace: Workspace) -> None:
    folder = workspace.seeds("cam", "irn")
    shutil.copy(folder / "2007_000001.npy", folder / "stranger.npy")


def one_more_shard(workspace: Workspace) -> None:
    description = read_manifest(workspace.features).description
    photo = PhotoFeatures("x", (), (4, 4), torch.zeros(description.channels, 1, 1), torch.zeros(0, 1, 1))
    write_shard(workspace.features, 9, [photo], [], description, ["x"])


def lost_note(workspace: Workspace) -> None:
    """Forget a seed in every way, as a run that never got there."""
    folder = workspace.seeds("cam", "irn")
    (folder / "2007_000001.npy").unlink()
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(line for line in lines if "2007_000001" not in line))


GENERATE = "lpcam generate -w "
EXTRACT = "lpcam extract-features"
DAMAGES = {  # what is done: (how, the file that is named, what is said, what repairs it)
    "a shard of other values": (
        lambda w: flip(w.features / "shard-00001.safetensors"),
        "features/shard-00001.safetensors",
        "checksum does not hold",
        EXTRACT,
    ),
    "a shard cut short": (
        lambda w: (w.features / "shard-00000.safetensors").write_bytes(b"\0" * 99),
        "features/shard-00000.safetensors",
        "half-written or damaged",
        EXTRACT,
    ),
    "a shard gone": (
        lambda w: (w.features / "shard-00000.safetensors").unlink(),
        "features/shard-00000.safetensors",
        "No such file|does not exist",
        EXTRACT,
    ),
    "a shard too much": (one_more_shard, "features/shard-00009.safetensors", "not in the manifest", "delete it"),
    "NaN in features": (
        shard_with(features=float("nan")),
        "features/shard-00000.safetensors",
        "features that are not finite",
        EXTRACT,
    ),
    "a CAM above one": (shard_with(cam=1.5), "features/shard-00000.safetensors", "a CAM outside 0..1", EXTRACT),
    "a grid of another size": (shard_with(grid=[7, 7]), "features/shard-00000.safetensors", "holds torch", EXTRACT),
    "a label that is no class": (shard_with(labels=[5]), "features/shard-00000.safetensors", "no classes", EXTRACT),
    "a photo of another name": (shard_with(name="x"), "features/shard-00000.safetensors", "account for", EXTRACT),
    "no manifest": (
        lambda w: (w.features / "manifest.json").unlink(),
        "features/manifest.json",
        "no manifest yet",
        EXTRACT,
    ),
    "class weights of another head": (other_class_weights, "features/class_weights.safetensors", r"\[3, 5\]", EXTRACT),
    "prototypes of other values": (
        lambda w: flip(w.prototypes, -5),
        "prototypes.safetensors",
        "checksum does not hold",
        "lpcam cluster --overwrite",
    ),
    "a support cut short": (
        lambda w: w.support.write_bytes(w.support.read_bytes()[:-1]),
        "support.safetensors",
        "not a whole",
        "lpcam cluster --method pacam --overwrite",
    ),
    "discriminants that are none": (
        lambda w: w.discriminants.write_bytes(b"junk"),
        "fisher.safetensors",
        "not a whole",
        "lpcam cluster --method fisher --overwrite",
    ),
    "a seed of other values": (
        lambda w: flip(w.seeds("cam", "irn") / "2007_000001.npy"),
        "seeds/cam/irn/2007_000001.npy",
        "checksum does not hold",
        GENERATE,
    ),
    "a seed gone": (
        lambda w: (w.seeds("lpcam", "irn") / "2007_000001.npy").unlink(),
        "seeds/lpcam/irn/2007_000001.npy",
        "is missing",
        GENERATE,
    ),
    "a seed never made": (lost_note, "seeds/cam/irn/2007_000001.npy", "is missing", GENERATE),
    "a seed too much": (unnoted_seed, "seeds/cam/irn/stranger.npy", "is not in SHA256SUMS", GENERATE),
    "NaN in a seed": (seed_with(float("nan")), "seeds/cam/irn/2007_000001.npy", "got NaN", GENERATE),
    "a seed above one": (seed_with(2.0), "seeds/cam/irn/2007_000001.npy", "not in 0..1", GENERATE),
    "a seed below zero": (seed_with(-0.5), "seeds/cam/irn/2007_000001.npy", "not in 0..1", GENERATE),
    "seeds nobody claims": (
        lambda w: (w.seeds("cam", "irn") / SEED_RECORD).unlink(),
        f"seeds/cam/irn/{SEED_RECORD}",
        "is missing",
        "--overwrite",
    ),
    "a changed record of seeds": (
        lambda w: (w.seeds("cam", "irn") / SEED_RECORD).write_text("{"),
        f"seeds/cam/irn/{SEED_RECORD}",
        "Expecting",
        "--overwrite",
    ),
    "a script that was changed": (
        lambda w: flip(w.seeds("cam", "irn") / "refine.sh"),
        "seeds/cam/irn/refine.sh",
        "checksum does not hold",
        GENERATE,
    ),
    "a score above one": (other_scores, "evaluation/cam.json", "checksum|outside 0..1", "lpcam evaluate"),
    "scores that are none": (
        lambda w: w.evaluation("cam").write_text('{"miou": []}'),
        "evaluation/cam.json",
        "is no evaluation",
        "lpcam evaluate",
    ),
    "failures nobody can read": (
        lambda w: w.failures.write_text('{"stage": 1'),
        "failures.jsonl",
        "is damaged",
        "delete it",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_named_with_its_repair(what, workspace):
    damage, path, said, repair = DAMAGES[what]
    damage(workspace)
    problems = verify(workspace).problems
    assert problems[0].path == path
    assert {problem.path for problem in problems} == {path} or what == "a photo of another name"  # it has no seeds
    assert re.search(said, problems[0].what)
    assert repair in problems[0].repair


def repaired(workspace: Workspace) -> None:
    """Do what all the repairs say."""
    manifest = json.loads((workspace.features / "manifest.json").read_text())
    data = DataSource.from_json(manifest["sources"]["data"])
    classifier = ClassifierSource.from_json(manifest["sources"]["classifier"])
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), shard_size=2)
    for cluster in (corridor.cluster, corridor.cluster_support, corridor.cluster_discriminants):
        options = {"profile": get_profile("voc", k=3)} if cluster is corridor.cluster else {}
        try:
            cluster(workspace, **options)
        except LpcamError:
            cluster(workspace, **options, overwrite=True)
    corridor.generate(workspace, methods=("cam", "lpcam"))
    corridor.generate(workspace, methods=("cam",), refiner="sipe")
    corridor.evaluate(workspace, method="cam")


@pytest.mark.parametrize(
    "what",
    [
        "a shard of other values",
        "a shard cut short",
        "a shard gone",
        "prototypes of other values",
        "a support cut short",
        "discriminants that are none",
        "a seed of other values",
        "a seed gone",
        "a seed never made",
        "a script that was changed",
        "scores that are none",
    ],
)
def test_the_repair_brings_the_same_bytes_back(what, workspace):
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    DAMAGES[what][0](workspace)
    repaired(workspace)
    assert verify(workspace).is_sound
    after = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    assert {path for path in before if after.get(path) != before[path]} == set()


def test_what_is_right_and_yet_doubtful_is_said(workspace):
    (workspace.root / "notes.txt").write_text("")
    (workspace.features / "shard-00000.safetensors.partial-x-1-2").write_bytes(b"half")
    corridor.cluster(workspace, profile=get_profile("voc", k=4), overwrite=True)
    workspace.failures.write_text('{"stage": "generate", "name": "a", "reason": "b"}\n')
    verdict = verify(workspace)
    assert verdict.is_sound
    for doubt in ("notes.txt is not lpcam's", "partial-x-1-2 is half-written", "1 photos failed, see "):
        assert any(doubt in said for said in verdict.doubts), doubt


def test_a_run_that_has_only_begun_is_sound_but_for_its_manifest(workspace, tmp_path):
    begun = Workspace(tmp_path / "begun")
    begun.root.mkdir()
    assert verify(begun).checked == {}
    assert verify(begun).is_sound
    with pytest.raises(LpcamError, match="does not exist: name the folder of a run by --workspace"):
        verify(Workspace(tmp_path / "nowhere"))


def test_the_command_prints_and_exits_with_1_where_something_is_wrong(workspace):
    found = CliRunner().invoke(main, ["verify", "-w", str(workspace.root)])
    assert found.exit_code == 0
    assert "all of them sound" in found.stdout
    flip(workspace.seeds("cam", "irn") / "2007_000001.npy")
    found = CliRunner().invoke(main, ["verify", "-w", str(workspace.root)])
    assert found.exit_code == 1
    assert "1 wrong" in found.stdout
    assert "failed: seeds/cam/irn/2007_000001.npy: is damaged, its checksum does not hold" in found.stderr
    assert f"next: lpcam generate -w {workspace.root} --method cam --refiner irn" in found.stdout
    as_json = json.loads(CliRunner().invoke(main, ["verify", "-w", str(workspace.root), "--json"]).stdout)
    assert as_json["sound"] is False
    assert as_json["problems"][0]["path"] == "seeds/cam/irn/2007_000001.npy"
