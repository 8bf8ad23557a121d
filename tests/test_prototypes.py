"""prototypes: the split, the scores and the selection by hand and against the transcription; golden selection."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

from lpcam.errors import LpcamError
from lpcam.kmeans import kmeans
from lpcam.methods.cam import Cam
from lpcam.profiles import Profile
from lpcam.prototypes import (
    Prototypes,
    Provenance,
    build_class,
    class_scores,
    filter_for,
    select,
    select_class,
    select_context,
    split_positions,
)
from lpcam.records import ViewFeatures
from lpcam.views import normalise, sum_high_res
from tests.reference import lpcam as reference


def test_split_drops_equality():
    cam = torch.tensor([0.0, 0.1, 0.2])
    assert split_positions(cam, 0.1, "object").tolist() == [False, False, True]
    assert split_positions(cam, 0.1, "rest").tolist() == [True, False, False]


def test_scores_by_hand():
    centres, weights = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scores = class_scores(centres, weights, 0)
    assert scores.tolist() == pytest.approx([np.e**2 / (np.e**2 + 1), 0.5])


def test_the_norm_of_a_centre_sharpens_its_score():
    centre, weights = torch.rand(1, 4), torch.rand(3, 4)
    label = int((weights @ centre[0]).argmax())
    scores = [float(class_scores(factor * centre, weights, label)) for factor in (0.1, 1.0, 10.0)]
    assert scores == sorted(scores)
    assert scores[0] < scores[2]


def test_scores_and_selection_equal_the_transcription():
    random = np.random.default_rng(0)
    objects, rest, weights = random.random((6, 8)), random.random((5, 8)), random.random((4, 8)) * 3
    mu = (0.3, 0.2, 0.5)
    for label in range(4):
        found = class_scores(torch.tensor(objects), torch.tensor(weights), label)
        assert found.tolist() == pytest.approx([reference.score(c, weights, label) for c in objects], abs=1e-6)
        classes, context = reference.select(list(objects), list(rest), weights, label, mu)
        chosen, fallback = select_class(found, mu[0])
        assert fallback == (not classes)
        assert fallback or chosen.nonzero().flatten().tolist() == classes
        rest_scores = class_scores(torch.tensor(rest), torch.tensor(weights), label)
        assert select_context(rest_scores, mu[1], mu[2]).nonzero().flatten().tolist() == context


def test_without_a_class_prototype_the_best_centre_is_taken():
    assert select_class(torch.tensor([0.2, 0.6, 0.5]), 0.9)[0].tolist() == [False, True, False]
    assert select_class(torch.tensor([0.2, 0.6, 0.5]), 0.9)[1] is True
    assert select_class(torch.tensor([0.95, 0.6]), 0.9)[1] is False
    assert select_class(torch.zeros(0), 0.9)[1] is False


def test_context_bounds_are_strict():
    assert select_context(torch.tensor([0.05, 0.06, 0.89, 0.9]), 0.05, 0.9).tolist() == [False, True, True, False]


def gather_of(objects: torch.Tensor, rest: torch.Tensor):
    return lambda side: objects if side == "object" else rest


def test_a_class_without_object_vectors_has_no_prototypes_and_a_zero_fold():
    centres = build_class(gather_of(torch.zeros(0, 4), torch.rand(30, 4)), torch.rand(2, 4), 0, Profile(), seed=0)
    assert centres.counts()["object_vectors"] == 0
    assert len(centres.class_prototypes) == 0
    prototypes = Prototypes((centres,), Provenance(("sheep",)))
    assert prototypes.folded().abs().max() == 0


def test_a_class_without_rest_vectors_subtracts_nothing():
    centres = build_class(gather_of(torch.rand(30, 4), torch.zeros(0, 4)), torch.rand(2, 4), 0, Profile(), seed=0)
    assert len(centres.context_prototypes) == 0
    assert len(centres.class_prototypes) >= 1
    prototypes = Prototypes((centres,), Provenance(("sheep",)))
    assert torch.equal(prototypes.folded(), prototypes.folded(context=False))


@pytest.mark.parametrize("objects", [torch.full((50, 4), 2.0), torch.rand(3, 4), torch.zeros(9, 4)])
def test_degenerate_sides_never_make_nan(objects):
    centres = build_class(gather_of(objects, torch.rand(5, 4)), torch.rand(2, 4), 0, Profile(), seed=0)
    folded = Prototypes((centres,), Provenance(("sheep",))).folded()
    assert bool(folded.isfinite().all())
    assert bool(centres.vectors.isfinite().all())


def sample(seed: int = 0) -> Prototypes:
    generator = torch.Generator().manual_seed(7)
    vectors = {
        (label, side): torch.rand(60, 5, generator=generator) * 4 for label in range(3) for side in ("object", "rest")
    }
    provenance = Provenance(("a", "b", "c"), weights_sha256="f" * 64, layer="layer4", profile=Profile(k=4), seed=seed)
    weights = torch.rand(3, 5, generator=generator) * 2
    centres = (
        build_class(lambda side, n=label: vectors[n, side], weights, label, provenance.profile, seed=provenance.seed)
        for label in range(len(provenance.classes))
    )
    return Prototypes(tuple(centres), provenance)


def test_each_class_is_built_alone():
    prototypes = sample()
    assert [len(centres.vectors) for centres in prototypes.centres] == [8, 8, 8]
    assert prototypes.folded().shape == (3, 5)


def test_round_trip_and_same_bytes(tmp_path):
    prototypes = sample()
    prototypes.save(tmp_path / "a.safetensors")
    sample().save(tmp_path / "b.safetensors")
    sample(seed=1).save(tmp_path / "c.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (tmp_path / "a.safetensors").read_bytes() != (tmp_path / "c.safetensors").read_bytes()
    loaded = Prototypes.load(tmp_path / "a.safetensors")
    assert loaded.provenance == prototypes.provenance
    assert loaded.sha256 == prototypes.sha256
    for mine, theirs in zip(prototypes.centres, loaded.centres, strict=True):
        for field in dataclasses.fields(mine):
            first, second = getattr(mine, field.name), getattr(theirs, field.name)
            assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_the_file_says_what_made_it(tmp_path):
    sample().save(tmp_path / "p.safetensors")
    with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        made = json.loads(file.metadata()["lpcam"])
        assert set(file.keys()) >= {"vectors", "scores", "sizes", "labels"}
    assert made["weights_sha256"] == "f" * 64
    assert made["profile"]["k"] == 4
    assert made["classes"] == ["a", "b", "c"]


def test_files_from_before_a_hyper_parameter_was_known_still_load(tmp_path):
    sample().save(tmp_path / "p.safetensors")
    with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        made = json.loads(file.metadata()["lpcam"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del made["profile"]["draw"], made["sha256"]
    save_file(tensors, tmp_path / "old.safetensors", {"lpcam": json.dumps(made)})
    assert Prototypes.load(tmp_path / "old.safetensors").provenance == sample().provenance


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign", "nan", "pickle", "types"])
def test_files_that_are_not_prototypes(tmp_path, damage):
    path = tmp_path / "p.safetensors"
    prototypes = sample()
    if damage == "types":
        broken = dataclasses.replace(prototypes.centres[0], is_object=prototypes.centres[0].is_object.double())
        prototypes = Prototypes((broken, *prototypes.centres[1:]), prototypes.provenance)
    if damage == "nan":
        broken = dataclasses.replace(prototypes.centres[0], vectors=prototypes.centres[0].vectors * float("nan"))
        prototypes = Prototypes((broken, *prototypes.centres[1:]), prototypes.provenance)
    if damage != "missing":
        prototypes.save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    if damage == "foreign":
        save_file({"x": torch.zeros(2)}, path)
    if damage == "pickle":
        torch.save({"x": torch.zeros(2)}, path)
    with pytest.raises(LpcamError, match="run 'lpcam cluster"):
        Prototypes.load(path)


@pytest.mark.real
@pytest.mark.parametrize("label", [3, 11])
def test_golden_selection(real_data, label):
    golden = np.load(real_data / "parity/prototypes.npz")
    weights = torch.tensor(golden["classifier_weight"])
    objects, rest = torch.tensor(golden[f"object_centres_{label}"]), torch.tensor(golden[f"rest_centres_{label}"])
    chosen, fallback = select_class(class_scores(objects, weights, label), 0.9)
    context = select_context(class_scores(rest, weights, label), 0.05, 0.9)
    assert not fallback
    assert torch.equal(objects[chosen], torch.tensor(golden[f"class_prototypes_{label}"]))
    assert torch.equal(rest[context], torch.tensor(golden[f"context_prototypes_{label}"]))


@pytest.mark.real
@pytest.mark.parametrize("label", [3, 11])
@pytest.mark.parametrize("side", ["object", "rest"])
def test_clusters_are_not_below_the_references(real_data, label, side):
    golden = np.load(real_data / "parity/prototypes.npz")
    vectors = golden_vectors(real_data, torch.tensor(golden["classifier_weight"]), label, side)
    theirs = mean_best_cosine(vectors, torch.tensor(golden[f"{side}_centres_{label}"]))
    ours = kmeans(vectors, 4, seed=0, restarts=10)
    assert ours.objective >= theirs - 1e-6
    assert mean_best_cosine(vectors, ours.centres) == pytest.approx(ours.objective, abs=1e-6)


def golden_vectors(root, weights: torch.Tensor, label: int, side: str) -> torch.Tensor:
    found = []
    for path in sorted((root / "parity").glob("2007_*.npz")):
        golden = np.load(path)
        if label in golden["labels"]:
            views = [torch.tensor(golden[f"features_u8_scale{scale}"]).float() / 32 for scale in range(4)]
            maps = [Cam(weights).view_maps(ViewFeatures(view), (label,)) for view in views]
            high_res = normalise(sum_high_res(maps, tuple(golden["size"].tolist())), 1e-5)
            features = views[0][0]
            cam = F.interpolate(high_res[None], features.shape[1:], mode="nearest")[0, 0]
            found.append(features.flatten(1).T[split_positions(cam, 0.1, side).flatten()])
    return torch.cat(found)


def mean_best_cosine(vectors: torch.Tensor, centres: torch.Tensor) -> float:
    return float((F.normalize(vectors, dim=1) @ F.normalize(centres, dim=1).T).max(dim=1).values.double().mean())


# --- filters -----------------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
OBJECTS = torch.tensor([[3.0, 1.0], [1.0, 3.0], [0.2, 0.1], [-1.0, -2.0]])  # own logit largest in the first and third
REST = torch.tensor([[0.0, 4.0], [0.1, 0.0], [1.0, 1.5]])


def chosen(name: str, objects=OBJECTS, rest=REST, weights=WEIGHTS, **changes):
    found, context, fallback = select(objects, rest, weights, 0, Profile(filter=name, **changes))
    return found.tolist(), context.tolist(), fallback


def test_rank_by_hand():
    assert chosen("rank") == ([True, False, True, False], [True, False, True], False)


def test_quantile_by_hand():
    # log-odds of class 0: about 2, -2, -0.5, -4.3 | -4, -0.5, -0.6: the median of the seven is -0.6
    assert chosen("quantile") == ([True, False, True, False], [True, False, False], False)


def test_softmax_is_the_papers_filter():
    scores = class_scores(OBJECTS, WEIGHTS, 0)
    assert chosen("softmax", class_threshold=0.5)[0] == (scores > 0.5).tolist()
    assert chosen("softmax", class_threshold=0.5)[0] == [True, False, False, False]
    rest = class_scores(REST, WEIGHTS, 0)
    assert chosen("softmax")[1] == select_context(rest, 0.05, 0.9).tolist()


@pytest.mark.parametrize("name", ["rank", "quantile"])
@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_the_scale_of_features_and_weights_does_not_matter(name, factor):
    """At 1e-4 every z is 1/3, at 1e4 every z is 0 or 1: softmax chooses otherwise, these two do not."""
    generator = torch.Generator().manual_seed(0)
    objects, rest = (torch.randn(12, 5, generator=generator) for _ in range(2))
    weights = torch.randn(4, 5, generator=generator)
    if name == "quantile":  # log-odds keep their order only where one other class leads: two classes
        weights = weights[:2]
    same = chosen(name, objects, rest, weights)
    assert chosen(name, factor * objects, factor * rest, weights) == same
    assert chosen(name, objects, rest, factor * weights) == same
    assert 0 < sum(same[0]) < 12
    assert chosen("softmax", factor * objects, factor * rest, weights) != chosen("softmax", objects, rest, weights)


@pytest.mark.parametrize("name", ["softmax", "rank"])
def test_every_filter_falls_back_to_the_best_centre(name):
    assert chosen(name, OBJECTS[[1, 3]])[0::2] == ([True, False], True)


@pytest.mark.parametrize("name", ["softmax", "rank", "quantile"])
def test_no_centres_and_one_class(name):
    nothing = torch.zeros(0, 2)
    assert chosen(name, nothing, nothing) == ([], [], False)
    objects, context, fallback = chosen(name, weights=WEIGHTS[:1])
    assert any(objects)
    assert not fallback
    assert any(context) == (name == "quantile")


def test_auto_is_softmax_after_a_relu_and_rank_elsewhere():
    assert chosen("auto") == chosen("rank")
    assert chosen("auto", OBJECTS.abs(), REST.abs()) == chosen("softmax", OBJECTS.abs(), REST.abs())
    assert filter_for("quantile", OBJECTS) == "quantile"


def test_a_file_from_before_there_was_a_choice_is_of_the_softmax_filter(tmp_path):
    gather = gather_of(torch.rand(9, 2), torch.rand(9, 2))
    for name in ("softmax", "rank"):
        profile = Profile(k=2, filter=name)
        made = Prototypes(
            (build_class(gather, torch.eye(2), 0, profile, seed=0),), Provenance(("cat",), profile=profile)
        )
        made.save(tmp_path / "p.safetensors")
        with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
            stored = json.loads(file.metadata()["lpcam"])["profile"]
        assert ("filter" in stored) == (name != "softmax")
        assert Prototypes.load(tmp_path / "p.safetensors").provenance.profile.filter == name


# --- switches ----------------------------------------------------------------------------------------------


def test_a_relative_threshold_is_a_share_of_the_highest_score():
    weak = 0.1 * OBJECTS  # every z is near 1/3, none is near .9
    scores = class_scores(weak, WEIGHTS, 0)
    assert chosen("softmax", weak)[0::2] == ([True, False, False, False], True)
    found = chosen("softmax", weak, relative_threshold=True, class_threshold=0.7)
    assert found[0::2] == ((scores > 0.7 * scores.max()).tolist(), False)
    assert 1 < sum(found[0]) < 4
    assert found[1] == chosen("softmax", weak)[1]  # the context stays
    nothing = torch.zeros(0, 2)
    assert chosen("softmax", nothing, nothing, relative_threshold=True) == ([], [], False)


def test_weighed_prototypes_count_by_the_vectors_of_their_clusters():
    objects = torch.tensor([[2.0, 0.0]] * 3 + [[0.0, 1.0]])
    rest = torch.tensor([[1.0, 0.0]] + [[0.0, 5.0]] * 4)

    def folded(**switches: bool) -> list[float]:
        profile = Profile(k=2, class_threshold=0, context_low=0, context_high=1, **switches)
        centres = build_class(gather_of(objects, rest), torch.eye(2), 0, profile, seed=0)
        return Prototypes((centres,), Provenance(("cat",), profile=profile)).folded()[0].tolist()

    assert folded() == [0, 0]
    assert folded(weigh_sizes=True) == pytest.approx([3 / 4 - 1 / 5, 1 / 4 - 4 / 5])


def test_adaptive_k_is_halved_while_little_is_lost():
    generator = torch.Generator().manual_seed(0)
    corners = 30 * torch.eye(4, 32).repeat(100, 1) + torch.randn(400, 32, generator=generator)
    one = 30 * torch.eye(1, 32) + torch.randn(3000, 32, generator=generator)

    def counts(k: int, rest: torch.Tensor, **switches: bool) -> tuple[int, int]:
        profile = Profile(k=k, restarts=5, class_threshold=0, **switches)
        found = build_class(gather_of(corners, rest), torch.rand(2, 32, generator=generator), 0, profile, seed=0)
        return int(found.is_object.sum()), int((~found.is_object).sum())

    assert counts(8, one) == (8, 8)
    assert counts(8, one, adaptive_k=True) == (4, 1)
    assert counts(8, one[:400], adaptive_k=True) == (4, 8)  # of few vectors each centre explains more than a twentieth
    assert counts(1, one, adaptive_k=True) == (1, 1)


def test_a_file_names_the_switches_that_are_on_and_no_other(tmp_path):
    gather = gather_of(torch.rand(9, 2), torch.rand(9, 2))
    for switches in ({}, {"weigh_sizes": True, "relative_threshold": True}, {"adaptive_k": True}):
        profile = Profile(k=2, filter="softmax", **switches)
        centres = build_class(gather, torch.eye(2), 0, profile, seed=0)
        made = Prototypes((centres,), Provenance(("cat",), profile=profile))
        made.save(tmp_path / "p.safetensors")
        with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
            stored = json.loads(file.metadata()["lpcam"])["profile"]
        assert {
            name: stored[name] for name in ("weigh_sizes", "relative_threshold", "adaptive_k") if name in stored
        } == (switches)
        assert Prototypes.load(tmp_path / "p.safetensors").provenance.profile == profile
