"""inspection: what is said of a file is what the file holds; a photo's maps made now are those that generate writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from lpcam import corridor, tensorfile
from lpcam.errors import LpcamError
from lpcam.files import write_json
from lpcam.inspection import DEFAULT_THRESHOLD, Findings, inspect, is_photo, maps_of_photo, overlay, write_overlay
from lpcam.pickles import save_dictionary
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import ActivationMaps, Failure
from lpcam.refiners import get_refiner, readable
from lpcam.store import SCHEMA
from lpcam.workspace import Workspace

PROFILE = get_profile("voc", k=3, iterations=20)


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    """A run up to prototypes."""
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=(1.0, 0.5))
    corridor.cluster(workspace, profile=PROFILE)
    return workspace


def stages(findings: Findings) -> dict[str, str]:
    return {row["stage"]: row["state"] for row in findings.rows}


# -- a workspace -------------------------------------------------------------------------------------


def test_a_workspace_says_what_is_done_and_what_is_next(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=(1.0, 0.5))
    steps = [inspect(workspace.root).next_steps[0].split()[1]]
    for stage in (corridor.cluster, corridor.generate, corridor.evaluate):
        stage(workspace)
        steps.append(inspect(workspace.root).next_steps[0].split()[1])
    found = inspect(workspace.root)
    assert steps == ["cluster", "generate", "evaluate", "report"]
    assert stages(found) == dict.fromkeys(("features", "prototypes", "seeds", "evaluation"), "complete")
    assert (found.kind, found.facts["dataset"], found.facts["classes"]) == ("workspace", "voc", 2)
    assert found.facts["root"] == str(data.root.resolve())
    json.dumps(found.as_json(), allow_nan=False)


def test_a_workspace_says_what_does_not_belong_together(workspace, classifier, checkpoint):
    corridor.generate(workspace)
    workspace.record_failures("generate", (Failure("2007_000003", "no such file"),))
    corridor.cluster(workspace, profile=get_profile("voc", k=2), overwrite=True)
    corridor.cluster_discriminants(workspace)
    workspace.discriminants.write_bytes(b"half")
    (workspace.seeds("lpcam", "irn") / "2007_000004.npy").unlink()
    found = inspect(workspace.root)
    assert stages(found)["discriminants of fisher"] == "damaged"
    assert stages(found)["seeds"] == "incomplete"
    doubts = "\n".join(found.doubts)
    assert "seeds/lpcam/irn was made with other prototypes" in doubts
    assert "1 photos failed in generate" in doubts
    assert "fisher.safetensors is not a whole lpcam discriminant file" in doubts


def test_a_workspace_says_what_is_gone(workspace, voc_root):
    voc_root.rename(voc_root.with_name("elsewhere"))
    doubts = inspect(workspace.root).doubts
    assert any(f"root {voc_root.resolve()} is not there any more" in doubt for doubt in doubts)


def test_prototypes_of_other_features_are_doubtful(workspace, data, classifier):
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), overwrite=True)
    assert any(
        "prototypes.safetensors was made from other features" in doubt for doubt in inspect(workspace.root).doubts
    )


# -- files of the stages -----------------------------------------------------------------------------


def test_prototypes_class_by_class(workspace):
    found, made = inspect(workspace.prototypes), Prototypes.load(workspace.prototypes)
    assert (found.kind, found.facts["fingerprint"]) == ("prototype file", made.sha256)
    assert found.facts["class_prototypes"] == sum(len(entry.class_prototypes) for entry in made.centres)
    assert found.facts["profile"]["k"] == 3
    for row, entry in zip(found.rows, made.centres, strict=True):
        z = entry.scores[entry.is_object & entry.selected]
        assert row["z_of_class_prototypes"] == pytest.approx([float(z.min()), float(z.max())], abs=1e-4)
        assert row["cluster_sizes"] == [entry.sizes.min(), entry.sizes.max()]
        assert row["fallback"] == entry.fallback
    assert [doubt.split(":")[0] for doubt in found.doubts] == [row["class"] for row in found.rows if row["fallback"]]


def test_context_and_discriminants_class_by_class(workspace):
    support, lines = corridor.cluster_support(workspace), corridor.cluster_discriminants(workspace)
    found = inspect(workspace.support)
    counts = {row["class"]: (row["instances"], row["context_prototypes"]) for row in found.rows}
    assert counts == {name: tuple(counted.values()) for name, counted in support.classes.items()}
    assert found.next_steps == (f"lpcam generate -w {workspace.root} --method pacam",)
    found = inspect(workspace.discriminants)
    assert [row["object_vectors"] for row in found.rows] == [
        counted["object_vectors"] for counted in lines.classes.values()
    ]


def test_features_complete_and_not(workspace):
    found = inspect(workspace.features)
    shard = workspace.features / "shard-00000.safetensors"
    expected = {"complete": True, "photos": 6, "shards": 1, "channels": 512, "dtype": "float16", "classes": 2}
    assert {name: found.facts[name] for name in expected} == expected
    assert found.facts["bytes"] == shard.stat().st_size
    assert {row["class"]: row["photos"] for row in found.rows} == {"sheep": 4, "train": 4}
    of_shard = inspect(shard)
    positions = [(row["classes"], row["grid"][0] * row["grid"][1]) for row in of_shard.rows]
    assert found.facts["local_features"] == sum(count for _, count in positions)
    for label, row in enumerate(found.rows):
        assert row["local_features"] == sum(count for labels, count in positions if label in labels)
    (workspace.features / "manifest.json").unlink()
    found = inspect(workspace.features)
    assert (found.facts["complete"], found.facts["photos"], found.facts["channels"]) == (False, 6, 512)
    assert "extract-features" in found.next_steps[0]
    (workspace.features / "shard-00001.safetensors").write_bytes(shard.read_bytes())
    assert inspect(workspace.features).facts["photos"] == 12
    shard.write_bytes(shard.read_bytes()[:1000])
    assert any("half-written" in doubt for doubt in inspect(workspace.features).doubts)


@pytest.mark.parametrize(
    "damage", ["no features", "other numbers", "no photos", "photos of numbers", "failures of words"]
)
def test_a_shard_of_something_else_is_one_line(tmp_path, damage):
    header = {"schema": SCHEMA, "fingerprint": "f", "names": [], "photos": [], "failures": []}
    tensors = {"features": torch.zeros(2, 3), "cam": torch.zeros(2)}
    if damage == "no features":
        tensors["features"] = torch.zeros(2)
    elif damage == "other numbers":
        tensors["features"] = torch.zeros(2, 3, dtype=torch.int64)
    else:
        header |= {"photos": [1]} if damage == "photos of numbers" else {"failures": ["a"]}
    tensorfile.save(tmp_path / "a.safetensors", tensors, "lpcam", json.dumps(header))
    with pytest.raises(LpcamError, match=r"a\.safetensors is no shard that lpcam wrote .*: run"):
        inspect(tmp_path / "a.safetensors")


# -- checkpoints -------------------------------------------------------------------------------------


def test_a_checkpoint_says_its_architecture_or_what_differs(checkpoint, tmp_path):
    found = inspect(checkpoint)
    assert (found.facts["arch"], found.facts["classes"], found.facts["stride"]) == ("demo", 2, 8)
    state = torch.load(checkpoint, weights_only=True)
    del state["features.0.0.weight"]
    torch.save(state, tmp_path / "other.pth")
    found = inspect(tmp_path / "other.pth")
    assert found.facts["arch"] is None
    (row,) = [row for row in found.rows if row["architecture"] == "demo"]
    assert row["differs_by"] == "1 key missing (features.0.0.weight)"
    assert [row["architecture"] for row in inspect(tmp_path / "other.pth", arch="demo").rows] == ["demo"]


def test_networks_in_wide_use_are_known_and_of_others_the_nearest_are_shown(monkeypatch, tmp_path):
    monkeypatch.setattr("lpcam.inspection.checkpoint.candidates", lambda: ("demo", "torchvision/resnet18"))
    torch.save(models.mobilenet_v2(num_classes=3).state_dict(), tmp_path / "net.pth")
    found = inspect(tmp_path / "net.pth")
    assert (found.facts["arch"], found.facts["classes"]) == ("torchvision/mobilenet_v2", 3)
    torch.save({**models.resnet18().state_dict(), "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.pth")
    rows = inspect(tmp_path / "grey.pth").rows
    assert len(rows) == 3
    assert rows[0]["architecture"] == "torchvision/resnet18"
    assert rows[0]["differs_by"].startswith("1 key of another shape (conv1.weight: [64, 1, 7, 7] in the file")


def test_a_checkpoint_without_a_head_says_so(checkpoint, tmp_path):
    state = {name: tensor for name, tensor in torch.load(checkpoint, weights_only=True).items() if name != "fc.weight"}
    torch.save(state, tmp_path / "trunk.pth")
    found = inspect(tmp_path / "trunk.pth")
    assert (found.facts["arch"], found.facts["classes"]) == ("demo", None)
    assert "--head" in found.doubts[0]


def test_a_strangers_pickle_is_refused_and_not_run(tmp_path):
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return Path.touch, (canary,)

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    np.save(tmp_path / "evil.npy", np.array({"keys": Evil()}, dtype=object), allow_pickle=True)
    for name in ("evil.pth", "evil.npy"):
        with pytest.raises(LpcamError):
            inspect(tmp_path / name)
    assert not canary.exists()


# -- seeds and other dictionaries --------------------------------------------------------------------


@pytest.mark.parametrize("family", readable())
def test_seeds_of_every_family_are_known_by_their_keys(family, tmp_path):
    high_res = torch.rand(2, 9, 12)
    high_res[1] = 0
    maps = ActivationMaps((0, 4), torch.rand(2, 3, 3), high_res)
    get_refiner(family).write(tmp_path, "a", maps)
    found = inspect(tmp_path / "a.npy")
    assert family in found.facts["families"]
    assert found.facts["size"] == [9, 12]
    assert [row["label"] for row in found.rows] == [0, 4]
    assert found.doubts == ("the map of class 4 is zero everywhere",)


def test_a_folder_of_seeds_says_what_made_them(workspace):
    corridor.generate(workspace, methods=("cam",))
    folder = workspace.seeds("cam", "irn")
    found = inspect(folder)
    assert (found.facts["files"], found.facts["families"], found.facts["method"]) == (6, ["irn"], "cam")
    assert found.next_steps[0].startswith(f"lpcam evaluate -w {workspace.root} --refiner irn --method cam")
    get_refiner("irn").write(folder, "2007_000003", ActivationMaps((1,), torch.zeros(1, 3, 3), torch.zeros(1, 9, 12)))
    (folder / "2007_000004.npy").write_bytes(b"junk")
    zero, damaged = inspect(folder).doubts
    assert "zero everywhere in 2007_000003" in zero
    assert "2007_000004" in damaged


def test_labels_and_class_weights(tmp_path):
    save_dictionary(tmp_path / "cls_labels.npy", {"a": np.array([1, 0, 1]), "b": np.array([0, 0, 0])})
    found = inspect(tmp_path / "cls_labels.npy")
    assert (found.kind, found.facts["photos"], found.facts["classes"]) == ("image-level labels", 2, 3)
    assert found.doubts == ("1 photos have no class",)
    np.save(tmp_path / "head.npy", np.ones((3, 8), np.float32))
    found = inspect(tmp_path / "head.npy")
    assert (found.kind, found.facts["classes"], found.facts["channels"]) == ("class weights", 3, 8)


def test_what_is_nothing_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    save_dictionary(tmp_path / "other.npy", {"what": "ever"})
    for path, what in ((tmp_path / "empty", "holds nothing that lpcam writes"), (tmp_path / "no", "does not exist")):
        with pytest.raises(LpcamError, match=what):
            inspect(path)
    assert inspect(tmp_path / "other.npy").doubts == ("no family that lpcam reads has such keys",)


# -- a photo -----------------------------------------------------------------------------------------


def test_maps_made_now_are_those_that_generate_writes(workspace, voc_root):
    photo = voc_root / "JPEGImages/2007_000002.jpg"
    methods = ("cam", "lpcam")
    now = maps_of_photo(workspace, photo, methods=methods)
    corridor.generate(workspace, methods=methods)
    kept = maps_of_photo(workspace, photo, methods=methods)
    assert (set(now.made.values()), set(kept.made.values())) == ({True}, {False})
    assert kept.photo.labels == (0, 1)
    for method in methods:
        torch.testing.assert_close(now.maps[method].high_res, kept.maps[method].high_res)


def test_a_strangers_photo_needs_its_classes(workspace, tmp_path):
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "own.jpg")
    assert is_photo(tmp_path / "own.jpg")
    with pytest.raises(LpcamError, match=r"name them by --class, such as --class sheep"):
        maps_of_photo(workspace, tmp_path / "own.jpg")
    with pytest.raises(LpcamError, match="did you mean 'sheep'"):
        maps_of_photo(workspace, tmp_path / "own.jpg", classes=("shep",))
    found = maps_of_photo(workspace, tmp_path / "own.jpg", classes=("train",))
    assert found.maps["lpcam"].high_res.shape == (1, 30, 40)
    assert found.findings().rows[0]["class"] == "train"


def test_the_threshold_is_the_evaluations_or_the_given_one(workspace, voc_root):
    photo = voc_root / "JPEGImages/2007_000000.jpg"
    assert maps_of_photo(workspace, photo).thresholds == {"lpcam": DEFAULT_THRESHOLD}
    write_json(workspace.evaluation("lpcam"), {"threshold": 0.62})
    assert maps_of_photo(workspace, photo).thresholds == {"lpcam": 0.62}
    found = maps_of_photo(workspace, photo, threshold=0.99)
    high_res = found.maps["lpcam"].high_res[0].numpy()
    assert (found.seed("lpcam") == (high_res > np.float32(0.99))).all()


def test_the_overlay_has_a_row_a_method_and_a_tile_a_class(workspace, voc_root, tmp_path):
    found = maps_of_photo(workspace, voc_root / "JPEGImages/2007_000002.jpg", methods=("cam", "lpcam"))
    picture = overlay(found, cell=64)
    one = overlay(maps_of_photo(workspace, voc_root / "JPEGImages/2007_000000.jpg"), cell=64)
    assert picture.width - one.width == 64 + 8  # photo, two maps, seed, truth against photo, one map, seed, truth
    assert picture.height > one.height + 40
    write_overlay(tmp_path / "o.png", found)
    assert Image.open(tmp_path / "o.png").format == "PNG"
    with pytest.raises(LpcamError, match=r"ends in \.png"):
        write_overlay(tmp_path / "o.bmp", found)


def test_an_extraction_that_was_interrupted_says_how_far_it_came(workspace):
    before = inspect(workspace.features).facts
    (workspace.features / "manifest.json").unlink()
    (row,) = [row for row in inspect(workspace.root).rows if row["stage"] == "features"]
    facts = inspect(workspace.features).facts
    assert (row["state"], facts["complete"]) == ("incomplete", False)
    for name in ("photos", "shards", "bytes", "channels", "dtype"):
        assert facts[name] == before[name], name
    assert f"{before['photos']} photos in {before['shards']} shards" in row["what"]
