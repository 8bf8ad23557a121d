"""corridor: what the published code left becomes the same prototypes, features and seeds as our own stages make."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from lpcam_cli.main import main

from lpcam import corridor
from lpcam.errors import LpcamError
from lpcam.pickles import save_dictionary
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.store import FeatureStore, read_manifest
from lpcam.workspace import Workspace

PROFILE = get_profile("voc", k=3, iterations=20)


@pytest.fixture
def own(tmp_path, data, classifier) -> Workspace:
    """A workspace of our own stages, with float32 features and seeds of CAM and LPCAM."""
    workspace = Workspace(tmp_path / "own")
    corridor.run(workspace, data, classifier, methods=("cam", "lpcam"), profile=PROFILE, dtype="float32")
    return workspace


@pytest.fixture
def dump(own, tmp_path) -> Path:
    """What the published code would have left of that run."""
    folder = tmp_path / "dump"
    folder.mkdir()
    prototypes = Prototypes.load(own.prototypes).centres
    torch.save({n: entry.class_prototypes for n, entry in enumerate(prototypes)}, folder / "class_ceneters.pt")
    torch.save({n: entry.context_prototypes for n, entry in enumerate(prototypes)}, folder / "class_context.pt")
    store = FeatureStore(own.features)
    rows = list(store.rows(store.photos))
    grids = [photo.grid for photo in store.photos]
    features = {n: row.T.reshape(-1, *grid) for n, (row, grid) in enumerate(zip(rows, grids, strict=True))}
    labels = {n: torch.eye(2)[list(photo.labels)].sum(0) for n, photo in enumerate(store.photos)}
    torch.save(features, folder / "tensor_feature.pt")
    torch.save(labels, folder / "tensor_label.pt")
    save_dictionary(folder / "name2id.npy", {photo.name: n for n, photo in enumerate(store.photos)})
    return folder


def lpcam(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def seed_bytes(workspace: Workspace) -> list[bytes]:
    paths = sorted(workspace.seeds("lpcam", "irn").glob("*.npy"))
    assert len(paths) == 6
    return [path.read_bytes() for path in paths]


def test_imported_prototypes_make_the_same_seeds_without_features(own, dump, data, classifier, tmp_path):
    there = Workspace(tmp_path / "w")
    files = ("--class-prototypes", dump / "class_ceneters.pt", "--context-prototypes", dump / "class_context.pt")
    network = ("--arch", "demo", "--weights", classifier.weights)
    found = lpcam("import-prototypes", *files, *network, "--classes", data.classes, "-w", there.root, "--json")
    assert found.exit_code == 0, found.stderr
    counts = json.loads(found.stdout)["classes"]
    assert counts["sheep"]["class_prototypes"] == len(Prototypes.load(own.prototypes).centres[0].class_prototypes)
    shutil.rmtree(own.features)
    result = lpcam("generate", "-w", there.root)
    assert result.exit_code == 1
    assert "remembers no photos, its prototypes were imported: give --dataset and --root" in result.stderr
    photos = ("--dataset", "voc", "--root", data.root, "--labels", data.labels, "--classes", data.classes)
    for command in ("generate", "evaluate"):
        result = lpcam(command, *photos, "-w", there.root)
        assert result.exit_code == 0, result.stderr
    assert seed_bytes(there) == seed_bytes(own)
    mine, theirs = (json.loads(workspace.evaluation("lpcam").read_text()) for workspace in (own, there))
    assert mine.pop("made_by")["prototypes"] != theirs.pop("made_by")["prototypes"]  # these know no other centres
    assert mine.pop("sha256") != theirs.pop("sha256")
    assert mine == theirs
    made = Prototypes.load(there.prototypes).provenance
    assert (made.dataset, made.classes) == ("imported", ("sheep", "train"))


def import_(workspace, dump, classifier, **options):
    files = dump / "class_ceneters.pt", dump / "class_context.pt"
    return corridor.import_prototypes(workspace, classifier, *files, device="cpu", **options)


def test_photos_that_are_named_are_remembered(own, dump, data, classifier, tmp_path):
    there = Workspace(tmp_path / "w")
    import_(there, dump, classifier, data=data)
    corridor.generate(there)
    assert seed_bytes(there) == seed_bytes(own)
    assert corridor.evaluate(there).curve.images == 6


def test_a_workspace_keeps_its_prototypes_and_its_features(own, dump, data, classifier, tmp_path):
    with pytest.raises(LpcamError, match="has features, of which 'lpcam cluster' makes the prototypes"):
        import_(own, dump, classifier, data=data)
    there = Workspace(tmp_path / "w")
    import_(there, dump, classifier, data=data)
    import_(there, dump, classifier, data=data)
    torch.save(list(torch.rand(2, 1, 512)), dump / "class_context.pt")
    with pytest.raises(LpcamError, match="holds other prototypes: add --overwrite"):
        import_(there, dump, classifier, data=data)
    import_(there, dump, classifier, data=data, overwrite=True)
    with pytest.raises(LpcamError, match="give --classes FILE, or --dataset and --root"):
        import_(Workspace(tmp_path / "x"), dump, classifier)
    there.imported.write_text("{}")
    with pytest.raises(
        LpcamError, match=r"imported\.json is damaged .* run 'lpcam import-prototypes --overwrite' again"
    ):
        corridor.generate(there)


def test_prototypes_of_other_weights_are_noticed_and_other_weights_later_refused(own, dump, data, classifier, tmp_path):
    torch.save([-40 * torch.ones(2, 512), torch.zeros(0, 512)], dump / "class_ceneters.pt")
    state = torch.load(classifier.weights, weights_only=True)
    state["fc.weight"] = torch.stack([torch.ones(512), -torch.ones(512)])
    other = tmp_path / "other.pth"
    torch.save(state, other)
    there = Workspace(tmp_path / "w")
    report = import_(there, dump, replace(classifier, weights=other), data=data)
    assert [notice.split(":")[0] for notice in report.notices] == ["train", report.notices[1].split(":")[0]]
    assert "2 of 2 class prototypes score below 0.5" in report.notices[1]
    state["fc.weight"] = 2 * state["fc.weight"]
    torch.save(state, other)
    with pytest.raises(LpcamError, match="holds other weights"):
        corridor.generate(there)


def test_imported_features_are_the_store_our_own_extraction_writes(own, dump, data, classifier, tmp_path):
    there = Workspace(tmp_path / "w")
    photos = ("--dataset", "voc", "--root", data.root, "--labels", data.labels, "--classes", data.classes)
    network = ("--arch", "demo", "--weights", classifier.weights)
    folders = ("--dump", dump, "--cams", own.seeds("cam", "irn"))
    arguments = ("import-features", *folders, *photos, *network, "--dtype", "float32", "-w", there.root, "--json")
    found = json.loads(lpcam(*arguments).stdout)
    assert (found["images"], found["skipped"]) == (6, 0)
    assert json.loads(lpcam(*arguments).stdout)["skipped"] == 6
    mine, theirs = FeatureStore(own.features), FeatureStore(there.features)
    assert theirs.photos == mine.photos
    assert all(torch.equal(*rows) for rows in zip(mine.rows(mine.photos), theirs.rows(theirs.photos), strict=True))
    for label in (0, 1):
        cams = [
            store.cams([photo for photo in store.photos if label in photo.labels], label) for store in (mine, theirs)
        ]
        assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(*cams, strict=True))
    assert read_manifest(there.features).description.origin == "imported"
    corridor.cluster(there, profile=PROFILE)
    corridor.generate(there)
    assert len(seed_bytes(there)) == 6
    with pytest.raises(LpcamError, match="holds features of other photos"):
        corridor.extract_features(there, data, classifier, dtype="float32")


def test_a_dump_that_does_not_fit_its_photos(own, dump, data, classifier, tmp_path):
    def attempt(cams: Path, **changes):
        source = replace(data, **changes)
        return corridor.import_features(Workspace(tmp_path / "w"), dump, cams, source, classifier, device="cpu")

    cams = own.seeds("cam", "irn")
    (tmp_path / "l.csv").write_text(data.labels.read_text().replace("2007_000000,sheep", "2007_000000,train"))
    with pytest.raises(LpcamError, match=r"other labels of 2007_000000 \(sheep\) than the data set \(train\)"):
        attempt(cams, labels=tmp_path / "l.csv")
    with pytest.raises(LpcamError, match="nowhere"):
        attempt(tmp_path / "nowhere")
    seeds = np.load(cams / "2007_000000.npy", allow_pickle=True).item()
    save_dictionary(cams / "2007_000000.npy", {**seeds, "high_res": seeds["high_res"][:, :45, :]})
    with pytest.raises(LpcamError, match=r"the CAM of 2007_000000 .* is not of the photo's size \(48, 64\)"):
        attempt(cams)
    assert not (tmp_path / "w/features/manifest.json").exists()
