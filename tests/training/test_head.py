"""Class weights over frozen features: recover what separates the classes, the same for every scale and every run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from lpcam import corridor
from lpcam.backbones import load_classifier, load_trunk
from lpcam.backbones.checkpoints import read_head
from lpcam.errors import LpcamError
from lpcam.records import Execution
from lpcam.sources import DataSource
from lpcam.training import HeadRecipe, train_head
from lpcam.training.head import cross_validated, fit, pooled_photos, pooled_store
from lpcam.training.targets import mean_average_precision
from lpcam.workspace import Workspace


def synthetic(count, seed, noise=0.3, classes=4, channels=24):
    """ReLU features: a class lights its own channel, on a common positive ground."""
    random = torch.Generator().manual_seed(seed)
    targets = (torch.rand(count, classes, generator=random) < 0.3).float()
    features = 1 + noise * torch.randn(count, channels, generator=random)
    features[:, :classes] += targets
    return features.clamp_min(0), targets


def test_it_recovers_the_classes_and_tells_photos_it_never_saw():
    (features, targets), (others, truth) = synthetic(300, 0), synthetic(300, 1)
    matrix = fit(features, targets, 1e-3)
    assert matrix.dtype == torch.float32
    assert matrix.argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert mean_average_precision(others @ matrix.T, truth) > 0.95
    assert ((others @ matrix.T > 0) == truth.bool()).float().mean() > 0.9


def test_it_is_the_minimum_of_the_formula_by_another_library():
    features, targets = synthetic(200, 2, noise=1.0)
    l2 = 1e-2
    scale = features.double().square().sum(dim=1).mean().sqrt()
    scaled = (features.double() / scale).numpy()
    matrix = fit(features, targets, l2)
    for label in range(4):  # scikit-learn: C · Σ log(1 + exp(…)) + ‖w‖²/2
        oracle = LogisticRegression(C=1 / (l2 * len(features)), fit_intercept=False, tol=1e-10, max_iter=5000)
        oracle.fit(scaled, targets[:, label].numpy())
        np.testing.assert_allclose(matrix[label] * float(scale), oracle.coef_[0], rtol=1e-3, atol=1e-3)


def test_scaling_the_features_scales_the_weights_back_and_a_warm_start_changes_nothing():
    features, targets = synthetic(120, 3)
    matrix = fit(features, targets, 1e-2)
    torch.testing.assert_close(fit(1000 * features, targets, 1e-2) * 1000, matrix, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fit(features, targets, 1e-2, start=torch.ones(4, 24)), matrix, rtol=1e-3, atol=1e-4)
    assert torch.equal(fit(features, targets, 1e-2), matrix)
    assert fit(features, targets, 1.0).norm() < matrix.norm()


def test_cross_validation_scores_photos_by_weights_that_never_saw_them():
    recipe = HeadRecipe(candidates=(1e-1, 1e-4), folds=3)
    features, _ = synthetic(60, 4)
    noise = (torch.rand(60, 4, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    scores = cross_validated(features, noise, recipe)
    assert mean_average_precision(features @ fit(features, noise, 1e-4).T, noise) > 0.75  # learnt by heart
    assert all(score < 0.5 for score in scores.values())
    assert cross_validated(features, noise, recipe, seed=3) != scores


@pytest.fixture
def workspace(data, classifier, tmp_path):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, dtype="float32", scales=(1.0,), execution=Execution("cpu"))
    return workspace


def test_pooled_features_are_the_same_from_the_store_and_from_the_photos(workspace, data, checkpoint):
    stored = pooled_store(workspace)
    sent = pooled_photos(data.open(), load_trunk("demo", checkpoint), workers=2)
    torch.testing.assert_close(stored.features, sent.features, rtol=1e-4, atol=1e-5)
    assert torch.equal(stored.targets, sent.targets)
    assert (stored.classes, stored.split) == (sent.classes, sent.split) == (("sheep", "train"), "train")


def test_a_head_of_a_workspace_is_what_the_head_option_reads(workspace, classifier, tmp_path):
    report = train_head(workspace, tmp_path / "head.safetensors", recipe=HeadRecipe(l2=0.01))
    head = read_head(tmp_path / "head.safetensors")
    assert list(load_file(tmp_path / "head.safetensors")) == ["weight"]
    assert (report.images, report.channels, report.l2, report.map) == (6, 512, 0.01, None)
    model = load_classifier("demo", classifier.weights, head=tmp_path / "head.safetensors", num_classes=2)
    assert torch.equal(model.class_weights, head)
    json.dumps(report.as_json(), allow_nan=False)


def test_heads_of_photos_are_equal_in_all_three_files_and_to_the_byte(data, checkpoint, tmp_path):
    options = {"arch": "demo", "weights": checkpoint, "recipe": HeadRecipe(folds=3), "device": "cpu"}
    names = ("a.pth", "b.npy", "c.safetensors", "d.npy")
    reports = [
        train_head(data, tmp_path / name, workers=place % 3, val_split="train" if place == 0 else None, **options)
        for place, name in enumerate(names)
    ]
    whole = load_classifier("demo", tmp_path / "a.pth", num_classes=2)
    for name in names[1:]:
        assert torch.equal(read_head(tmp_path / name), whole.class_weights)
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "d.npy").read_bytes()
    assert torch.equal(whole.stages[0][0].weight, load_trunk("demo", checkpoint).stages[0][0].weight)
    scores = dict(reports[1].cross_validated)
    assert reports[1].l2 == max(value for value in scores if scores[value] == max(scores.values()))
    assert reports[1].map == scores[reports[1].l2]
    assert reports[0].map == pytest.approx(mean_average_precision(logits(whole, data), targets(data)))


def logits(model, data):
    pooled = pooled_photos(data.open(), load_trunk("demo", data.root.parent / "a.pth"))
    return pooled.features @ model.class_weights.T


def targets(data):
    return pooled_photos(data.open(), load_trunk("demo", data.root.parent / "a.pth")).targets


def test_what_cannot_be_fitted_is_said_in_one_line(workspace, data, checkpoint, tmp_path):
    (tmp_path / "there.npy").write_bytes(b"mine")
    options = {"arch": "demo", "weights": checkpoint}
    cases = (
        (workspace, "net.pth", {}, "holds no backbone: let --out end in one of .safetensors, .npy"),
        (data, "net.bin", options, "no name of a head: let --out end in"),
        (data, "there.npy", options, "is there already: add --overwrite"),
        (data, "h.npy", {}, "give --arch"),
        (data, "h.npy", {**options, "recipe": HeadRecipe(folds=7)}, "6 photos are too few .* give --l2"),
        (Workspace(tmp_path / "none"), "h.npy", {}, "there are no features in"),
    )
    for source, name, given, message in cases:
        with pytest.raises(LpcamError, match=message):
            train_head(source, tmp_path / name, **given)
    assert (tmp_path / "there.npy").read_bytes() == b"mine"
    (data.root / "none.csv").write_text("name,classes\n" + "".join(f"2007_{index:06d},\n" for index in range(6)))
    silent = DataSource("voc", data.root, labels=data.root / "none.csv", classes=data.classes)
    with pytest.raises(LpcamError, match="no photo with an image-level label"):
        train_head(silent, tmp_path / "h.npy", **options)
    with pytest.raises(LpcamError, match="l2 is -1"):
        HeadRecipe(l2=-1.0)
