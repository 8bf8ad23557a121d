"""IS-CAM and PACAM in a workspace: what they are made of, their settings, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.backbones.extras import Extras
from lpcam.corridor import MethodSettings
from lpcam.corridor.basis import read_basis
from lpcam.corridor.methods import Means, make_method
from lpcam.corridor.supporting import bank_of
from lpcam.errors import LpcamError
from lpcam.methods.pacam import Awareness
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.store import FeatureStore
from lpcam.support import Support, SupportProfile
from lpcam.workspace import SEED_RECORD, Workspace

PROFILE = get_profile("voc", k=3, iterations=20)


@pytest.fixture
def workspace(tmp_path, data, classifier) -> Workspace:
    made = Workspace(tmp_path / "w")
    corridor.extract_features(made, data, classifier, scales=(1.0, 0.5))
    return made


def seeds_of(workspace: Workspace, method: str) -> dict[str, np.ndarray]:
    files = sorted(workspace.seeds(method, "irn").glob("*.npy"))
    return {path.stem: np.load(path, allow_pickle=True).item()["high_res"] for path in files}


def made_by(workspace: Workspace, method: str) -> dict[str, object]:
    return json.loads((workspace.seeds(method, "irn") / SEED_RECORD).read_text())["made_by"]


def generated(workspace: Workspace, method: str, **settings) -> dict[str, np.ndarray]:
    corridor.generate(workspace, methods=[method], settings=MethodSettings(**settings), overwrite=True)
    return seeds_of(workspace, method)


def differ(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return any(not np.array_equal(one[name], other[name]) for name in one)


def test_the_bank_holds_an_instance_of_every_photo_of_the_class(workspace):
    store = FeatureStore(workspace.features)
    profile = SupportProfile(k=2)
    report = corridor.cluster_support(workspace, profile=profile)
    support = Support.load(workspace.support)
    for label, (name, counts) in enumerate(report.classes.items()):
        photos = sum(label in photo.labels for photo in store.photos)
        assert counts["instances"] == photos > 0, name
        assert counts["context_prototypes"] == min(2, photos)
        sizes, vectors = support.context[label].sizes, support.context[label].vectors
        mean = bank_of(store, label, profile, 0).mean(dim=0)
        torch.testing.assert_close((vectors * sizes[:, None]).sum(dim=0) / sizes.sum(), mean)


def test_a_bank_never_exceeds_its_bound_and_holds_the_same_images_for_the_same_seed(workspace):
    store, profile = FeatureStore(workspace.features), SupportProfile(bank=2)
    whole = bank_of(store, 0, SupportProfile(), seed=5)
    bounded = bank_of(store, 0, profile, seed=5)
    assert len(whole) > len(bounded) == 2
    assert torch.equal(bounded, bank_of(store, 0, profile, seed=5))
    assert all((whole == row).all(dim=1).any() for row in bounded)  # of the images of the class
    assert any(not torch.equal(bounded, bank_of(store, 0, profile, seed=seed)) for seed in range(5))


def test_a_support_is_kept_and_another_is_refused(workspace):
    corridor.cluster_support(workspace)
    before = workspace.support.read_bytes()
    corridor.cluster_support(workspace)
    assert workspace.support.read_bytes() == before
    with pytest.raises(LpcamError, match="made with k 50, not 2: add --overwrite"):
        corridor.cluster_support(workspace, profile=SupportProfile(k=2))
    corridor.cluster_support(workspace, profile=SupportProfile(k=1), overwrite=True)
    assert workspace.support.read_bytes() != before


def test_pacam_needs_its_own_clustering_and_iscam_none(workspace):
    with pytest.raises(LpcamError, match="run 'lpcam cluster --method pacam' first"):
        corridor.generate(workspace, methods=["pacam"])
    assert differ(generated(workspace, "iscam"), generated(workspace, "cam"))
    with pytest.raises(LpcamError, match="run 'lpcam cluster' first"):
        generated(workspace, "iscam", iscam_from="lpcam")


def test_a_support_of_other_features_is_refused(workspace, data, classifier):
    corridor.cluster_support(workspace)
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), overwrite=True)
    with pytest.raises(LpcamError, match=r"made from other features .* run 'lpcam cluster --method pacam --overwrite'"):
        corridor.generate(workspace, methods=["pacam"])


def test_settings_change_seeds_and_are_not_mixed(workspace):
    corridor.cluster(workspace, profile=PROFILE)
    corridor.cluster_support(workspace)
    generated(workspace, "iscam", iscam_background=0.25)
    made = made_by(workspace, "iscam")
    assert made["prototypes"] is None
    assert made["settings"] == {
        "iscam_from": "cam",
        "iscam_background": 0.25,
        "iscam_labels_only": False,
        "iscam_levels": 4,
    }
    with pytest.raises(LpcamError, match="add --overwrite to replace them"):
        corridor.generate(workspace, methods=["iscam"])
    generated(workspace, "iscam", iscam_from="lpcam")
    assert made_by(workspace, "iscam")["prototypes"] == Prototypes.load(workspace.prototypes).sha256
    aware = generated(workspace, "pacam")
    for change in ({"bank": False}, {"alignment": False}, {"positiveness": False}, {"top": 1}, {"metric": "cosine"}):
        assert differ(aware, generated(workspace, "pacam", pacam=Awareness(**change))), change
    with pytest.raises(LpcamError, match="add --overwrite to replace them"):
        corridor.generate(workspace, methods=["pacam"])
    assert made_by(workspace, "pacam")["settings"]["metric"] == "cosine"
    assert made_by(workspace, "pacam")["support"] == Support.load(workspace.support).sha256


def test_the_learned_metric_is_refused_without_its_matrix(workspace):
    corridor.cluster_support(workspace)
    with pytest.raises(LpcamError, match="has no learned positiveness: train it with 'lpcam train cpal"):
        generated(workspace, "pacam", pacam=Awareness(metric="learned"))


def test_what_a_training_added_reaches_the_methods(workspace, data, classifier):
    corridor.cluster_support(workspace)
    basis = read_basis(workspace)
    net = classifier.load(len(basis.classes), "cpu")
    net.extras = Extras((torch.ones(2, net.channels),), torch.ones(3, net.channels))
    learned = MethodSettings(pacam=Awareness(metric="learned"))
    means = Means.of(workspace, net, basis.features, learned)
    assert torch.equal(make_method("iscam", means).sides[0], net.extras.sides[0])
    assert torch.equal(make_method("pacam", means).projection, net.extras.positiveness)


def test_settings_reach_the_methods(workspace, classifier):
    basis = read_basis(workspace)
    net = classifier.load(len(basis.classes), "cpu")
    settings = MethodSettings(iscam_background=0.25, iscam_labels_only=True, iscam_levels=2)
    found = make_method("iscam", Means.of(workspace, net, basis.features, settings))
    assert (found.background_weight, found.labels_only, found.levels) == (0.25, True, 2)


def test_a_run_clusters_the_context_as_often_as_the_prototypes(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    profile = get_profile("voc", k=3, iterations=20, restarts=2)
    corridor.run(workspace, data, classifier, methods=("pacam",), scales=(1.0,), profile=profile)
    made = Support.load(workspace.support).provenance.profile
    assert (made.restarts, made.iterations, made.k) == (2, 20, 50)


def test_pacam_is_refused_where_no_features_are_kept(tmp_path, data, classifier):
    with pytest.raises(LpcamError, match="--no-dump keeps no features for pacam: leave one of the two out"):
        corridor.run(Workspace(tmp_path / "w"), data, classifier, methods=("pacam",), dump=False)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"iscam_from": "grad"}, "iscam-from"),
        ({"iscam_background": 2.0}, "iscam-background is 2.0: choose"),
        ({"iscam_levels": 0}, "iscam-levels is 0"),
    ],
)
def test_settings_out_of_range_say_so(wrong, says):
    with pytest.raises(LpcamError, match=says):
        MethodSettings(**wrong)
