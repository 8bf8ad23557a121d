"""Fisher in a workspace: the file from the features, its seeds, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.corridor import discriminating
from lpcam.discriminants import Discriminants, FisherProfile
from lpcam.engines import Placement
from lpcam.errors import LpcamError
from lpcam.store import FeatureStore
from lpcam.workspace import SEED_RECORD, Workspace
from tests.reference import fisher

PROFILE = FisherProfile(tau=0.5, own_tau=0.3, ridge=0.5, passes=2)


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    made = Workspace(tmp_path / "w")
    corridor.extract_features(made, data, classifier, scales=(1.0, 0.5))
    return made


def test_the_vectors_of_a_store_are_the_transcription(workspace):
    report = corridor.cluster_discriminants(workspace, profile=PROFILE)
    store, made = FeatureStore(workspace.features), Discriminants.load(workspace.discriminants)
    photos = [
        (
            next(store.rows([photo])).double().numpy(),
            photo.labels,
            [next(store.cams([photo], label)).double().numpy() for label in photo.labels],
        )
        for photo in store.photos
    ]
    for label, (vector, offset) in enumerate(fisher.discriminants(photos, 2, **vars(PROFILE))):
        np.testing.assert_allclose(made.lines.vectors[label], vector, atol=1e-4)
        np.testing.assert_allclose(made.lines.offsets[label], offset, atol=1e-4)
        positions = sum(len(rows) for rows, labels, _ in photos if label in labels)
        counts = report.classes[store.description.classes[label]]
        assert 0 < counts["object_vectors"] < sum(counts.values()) == positions


def test_the_same_bytes_whatever_the_shards_and_the_processes(workspace, tmp_path, data, classifier):
    corridor.cluster_discriminants(workspace, profile=PROFILE, placement=Placement(threads=1))
    other = Workspace(tmp_path / "other")
    corridor.extract_features(other, data, classifier, scales=(1.0, 0.5), shard_size=2)
    corridor.cluster_discriminants(other, profile=PROFILE, placement=Placement(processes=2, threads=1))
    assert other.discriminants.read_bytes() == workspace.discriminants.read_bytes()


def test_the_same_is_kept_and_another_refused(workspace, monkeypatch):
    corridor.cluster_discriminants(workspace)
    before = workspace.discriminants.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(discriminating, "map_shards", None)  # nothing is summed again
        corridor.cluster_discriminants(workspace)
    assert workspace.discriminants.read_bytes() == before
    with pytest.raises(LpcamError, match=r"made with tau 0\.25, not 0\.5, own-tau .*: add --overwrite"):
        corridor.cluster_discriminants(workspace, profile=PROFILE)
    corridor.cluster_discriminants(workspace, profile=PROFILE, overwrite=True)
    assert workspace.discriminants.read_bytes() != before


def test_fisher_needs_its_own_vectors_of_these_features(workspace, data, classifier):
    with pytest.raises(LpcamError, match="run 'lpcam cluster --method fisher' first"):
        corridor.generate(workspace, methods=["fisher"])
    corridor.cluster_discriminants(workspace, profile=PROFILE)
    corridor.generate(workspace, methods=["fisher", "cam"])
    record = json.loads((workspace.seeds("fisher", "irn") / SEED_RECORD).read_text())["made_by"]
    assert record["discriminants"] == Discriminants.load(workspace.discriminants).sha256
    assert record["prototypes"] is None
    corridor.cluster_discriminants(workspace, overwrite=True)
    with pytest.raises(LpcamError, match="add --overwrite to replace them"):
        corridor.generate(workspace, methods=["fisher"])
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), overwrite=True)
    with pytest.raises(
        LpcamError, match=r"made from other features .* run 'lpcam cluster --method fisher --overwrite'"
    ):
        corridor.generate(workspace, methods=["fisher"], overwrite=True)


@pytest.mark.parametrize("classes", [["sheep", "train"], ["sheep"]])
def test_one_photo_with_a_class_alone_or_one_that_no_photo_has(tmp_path, data, classifier, classes):
    workspace, root = Workspace(tmp_path / "w"), data.root
    rows = (root / "labels.csv").read_text().splitlines()
    photo = next(row.split(",")[0] for row in rows if row.endswith(",sheep"))
    (root / "labels.csv").write_text(f"name,classes\n{photo},sheep\n")
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    (root / "ImageSets/Segmentation/train.txt").write_text(f"{photo}\n")
    state = torch.load(classifier.weights, weights_only=True)
    torch.save({**state, "fc.weight": state["fc.weight"][: len(classes)]}, tmp_path / "classes.pth")
    corridor.extract_features(workspace, data, replace(classifier, weights=tmp_path / "classes.pth"), scales=(1.0,))
    report = corridor.cluster_discriminants(workspace)
    assert report.as_json()["notices"] == [
        f"{name}: no position has a CAM above tau, so its maps will be zero" for name in classes[1:]
    ]
    corridor.generate(workspace, methods=["fisher"])
    seeds = np.load(workspace.seeds("fisher", "irn") / f"{photo}.npy", allow_pickle=True).item()
    assert np.isfinite(seeds["high_res"]).all()
    assert seeds["high_res"].max() == 1


def test_a_run_makes_the_vectors_its_method_needs(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    report = corridor.run(workspace, data, classifier, methods=("fisher",), scales=(1.0,))
    assert Discriminants.load(workspace.discriminants).provenance.profile == FisherProfile()
    assert set(report.as_json()["cluster-fisher"]["classes"]) == {"sheep", "train"}
    assert [scores.method for scores in report.evaluated] == ["fisher"]
    with pytest.raises(LpcamError, match="--no-dump keeps no features for fisher: leave one of the two out"):
        corridor.run(Workspace(tmp_path / "v"), data, classifier, methods=("fisher",), dump=False)
