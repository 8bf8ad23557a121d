"""corridor: a run from photos to scores; same bytes, resume, shard layouts, batches, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lpcam import corridor
from lpcam.corridor import gathering
from lpcam.errors import LpcamError
from lpcam.forward import Forward
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import Execution, Photo
from lpcam.store import FeatureStore
from lpcam.workspace import Workspace

SCALES = (1.0, 0.5)
METHODS = ("cam", "lpcam", "class-prototypes", "iscam", "pacam")
PROFILE = get_profile("voc", k=3, iterations=20)


def run(folder: Path, data, classifier, **options) -> Workspace:
    workspace = Workspace(folder)
    corridor.run(workspace, data, classifier, methods=METHODS, scales=SCALES, profile=PROFILE, **options)
    return workspace


def all_bytes(workspace: Workspace, *patterns: str) -> dict[str, bytes]:
    paths = sorted(path for pattern in patterns for path in workspace.root.glob(pattern))
    assert paths
    return {path.relative_to(workspace.root).as_posix(): path.read_bytes() for path in paths}


RESULTS = ("prototypes.safetensors", "support.safetensors", "seeds/**/*.npy", "evaluation/*.json")


def test_a_run_leaves_what_the_contract_names(tmp_path, data, classifier):
    workspace = run(tmp_path / "w", data, classifier)
    assert (tmp_path / "w/features/manifest.json").is_file()
    assert Prototypes.load(workspace.prototypes).folded().shape[0] == 2
    for method in METHODS:
        assert len(list(workspace.seeds(method, "irn").glob("*.npy"))) == 6
        scores = json.loads(workspace.evaluation(method).read_text())
        assert scores["images"] == 6
        assert 0 < scores["miou"] < 1
        assert set(scores["per_class"]) == {"background", "sheep", "train"}
        assert len(scores["curve"]) == 101


def test_seeds_fit_the_photo_as_irn_reads_them(tmp_path, data, classifier):
    workspace = run(tmp_path / "w", data, classifier)
    for photo in data.open().photos:
        seed = np.load(workspace.seeds("lpcam", "irn") / f"{photo.name}.npy", allow_pickle=True).item()
        height, width = seed["high_res"].shape[1:]
        assert seed["keys"].tolist() == list(photo.labels)
        assert seed["cam"].shape == (len(photo.labels), (height - 1) // 4 + 1, (width - 1) // 4 + 1)
        assert 0 <= seed["high_res"].min() <= seed["high_res"].max() <= 1


def test_same_seed_same_bytes_whatever_workers_and_shards(tmp_path, data, classifier):
    first = run(tmp_path / "a", data, classifier)
    second = run(tmp_path / "b", data, classifier, execution=Execution(workers=3))
    assert all_bytes(first, *RESULTS, "features/*") == all_bytes(second, *RESULTS, "features/*")
    third = Workspace(tmp_path / "c")
    corridor.extract_features(third, data, classifier, scales=SCALES, shard_size=2, execution=Execution(workers=0))
    run(tmp_path / "c", data, classifier)
    assert len(list(third.features.glob("shard-*"))) == 3
    assert all_bytes(first, *RESULTS) == all_bytes(third, *RESULTS)


def test_batches_agree_to_rounding_and_select_the_same_prototypes(tmp_path, data, classifier):
    one = run(tmp_path / "a", data, classifier, dtype="float32")
    four = run(tmp_path / "b", data, classifier, dtype="float32", execution=Execution(batch_size=4))
    first, second = Prototypes.load(one.prototypes), Prototypes.load(four.prototypes)
    for mine, theirs in zip(first.centres, second.centres, strict=True):
        assert torch.equal(mine.selected, theirs.selected)
        assert torch.equal(mine.sizes, theirs.sizes)
    for name in ("cam", "lpcam"):
        for path in sorted(one.seeds(name, "irn").glob("*.npy")):
            seed = np.load(path, allow_pickle=True).item()["high_res"]
            other = np.load(four.seeds(name, "irn") / path.name, allow_pickle=True).item()["high_res"]
            assert np.abs(seed - other).max() < 1e-5


def test_another_precision_makes_other_seeds_which_are_not_mixed(tmp_path, data, classifier):
    exact = run(tmp_path / "w", data, classifier)
    before = all_bytes(exact, "seeds/lpcam/**/*.npy")
    rough = Execution(precision="bfloat16")
    with pytest.raises(
        LpcamError, match="holds seeds made with other prototypes, weights, scales, precision or photos"
    ):
        corridor.generate(exact, execution=rough)
    assert all_bytes(exact, "seeds/lpcam/**/*.npy") == before
    with pytest.raises(LpcamError, match="holds features of other photos, labels, weights or options"):
        corridor.extract_features(exact, data, classifier, scales=SCALES, execution=rough)
    corridor.generate(exact, execution=rough, out=tmp_path / "rough")  # prototypes of float32 serve any precision
    for path in exact.seeds("lpcam", "irn").glob("*.npy"):
        seed, other = (
            np.load(file, allow_pickle=True).item()["high_res"] for file in (path, tmp_path / "rough" / path.name)
        )
        assert 0 < np.abs(seed - other).max() < 0.1


def test_an_interrupted_extraction_goes_on_and_ends_with_the_same_bytes(tmp_path, data, classifier):
    whole, torn = Workspace(tmp_path / "a"), Workspace(tmp_path / "b")
    options = {"scales": SCALES, "shard_size": 2}
    corridor.extract_features(whole, data, classifier, **options)

    def stop(stage, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corridor.extract_features(torn, data, classifier, progress=stop, **options)
    assert not (torn.features / "manifest.json").exists()
    report = corridor.extract_features(torn, data, classifier, **options)
    assert (report.skipped, report.images) == (2, 4)
    assert all_bytes(whole, "features/*") == all_bytes(torn, "features/*")


def test_an_interrupted_generation_goes_on(tmp_path, data, classifier):
    workspace = run(tmp_path / "w", data, classifier)
    folder = workspace.seeds("lpcam", "irn")
    before = all_bytes(workspace, "seeds/lpcam/**/*.npy")
    victims = sorted(folder.glob("*.npy"))[:2]
    for path in victims:
        path.unlink()
    report = corridor.generate(workspace)
    assert (report.images, report.skipped) == (2, 4)
    assert all_bytes(workspace, "seeds/lpcam/**/*.npy") == before


def test_everything_done_is_skipped(tmp_path, data, classifier):
    run(tmp_path / "w", data, classifier)
    again = corridor.run(Workspace(tmp_path / "w"), data, classifier, methods=METHODS, scales=SCALES, profile=PROFILE)
    assert (again.extracted.images, again.extracted.skipped) == (0, 6)
    assert (again.generated.images, again.generated.skipped) == (0, 6)
    assert again.extracted.backbone_seconds == again.generated.backbone_seconds == 0


def test_features_of_another_run_are_refused_then_overwritten(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=SCALES)
    before = all_bytes(workspace, "features/*")
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.extract_features(workspace, data, classifier, scales=(1.0,))
    assert all_bytes(workspace, "features/*") == before
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), overwrite=True)
    assert FeatureStore(workspace.features).manifest.description.scales == (1.0,)


def test_other_hyper_parameters_are_refused_then_overwritten(tmp_path, data, classifier):
    workspace = run(tmp_path / "w", data, classifier)
    before = workspace.prototypes.read_bytes()
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.cluster(workspace, profile=replace(PROFILE, k=2))
    with pytest.raises(LpcamError, match="--overwrite"):
        corridor.cluster(workspace, profile=PROFILE, seed=1)
    assert workspace.prototypes.read_bytes() == before
    corridor.cluster(workspace, profile=replace(PROFILE, k=2), overwrite=True)
    with pytest.raises(LpcamError, match="other prototypes"):
        corridor.generate(workspace)


def test_prototypes_of_other_features_or_weights_are_refused(tmp_path, data, classifier, checkpoint):
    workspace = run(tmp_path / "w", data, classifier)
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), overwrite=True)
    with pytest.raises(LpcamError, match=r"other features.*cluster --overwrite"):
        corridor.generate(workspace, overwrite=True)
    changed = tmp_path / "changed.pth"
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "fc.weight": 2 * state["fc.weight"]}, changed)
    other = Workspace(tmp_path / "v")
    corridor.extract_features(other, data, replace(classifier, weights=changed), scales=SCALES)
    shutil.copy(workspace.prototypes, other.prototypes)
    with pytest.raises(LpcamError, match="other weights"):
        corridor.generate(other)


def test_weights_that_changed_under_the_features_are_refused(tmp_path, data, classifier, checkpoint):
    copy = tmp_path / "copy.pth"
    shutil.copy(checkpoint, copy)
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, replace(classifier, weights=copy), scales=SCALES)
    state = torch.load(copy, weights_only=True)
    torch.save({**state, "fc.weight": -state["fc.weight"]}, copy)
    with pytest.raises(LpcamError, match="other weights than the features"):
        corridor.generate(workspace, methods=("cam",))


def test_a_broken_photo_is_named_and_the_rest_is_done_and_it_is_tried_again(tmp_path, data, classifier):
    victim = data.root / "JPEGImages/2007_000001.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 3])
    workspace = Workspace(tmp_path / "w")
    report = corridor.extract_features(workspace, data, classifier, scales=SCALES)
    assert [failure.name for failure in report.failures] == ["2007_000001"]
    assert report.images == 5
    assert "2007_000001" in workspace.failures.read_text()
    corridor.cluster(workspace, profile=PROFILE)
    assert len(corridor.generate(workspace).failures) == 1
    victim.write_bytes(whole)
    assert corridor.extract_features(workspace, data, classifier, scales=SCALES).failures == ()
    clean = Workspace(tmp_path / "clean")
    corridor.extract_features(clean, data, classifier, scales=SCALES)
    assert all_bytes(workspace, "features/*") == all_bytes(clean, "features/*")
    assert "extract-features" not in workspace.failures.read_text()


def test_other_photos_than_the_prototypes_came_from(tmp_path, data, classifier):
    from tests.conftest import make_voc

    workspace = run(tmp_path / "w", data, classifier)
    root = make_voc(tmp_path / "other", [(40, 40), (41, 43)], seed=9)
    other = replace(data, root=root, labels=root / "labels.csv", classes=root / "classes.txt")
    report = corridor.generate(workspace, data=other, out=tmp_path / "out")
    assert report.images == 2
    assert len(list((tmp_path / "out").glob("*.npy"))) == 2
    scores = corridor.evaluate(workspace, data=other, seeds=tmp_path / "out")
    assert scores.curve.images == 2
    (root / "classes.txt").write_text("train\nsheep\n")
    with pytest.raises(LpcamError, match="--classes"):
        corridor.generate(workspace, data=other, out=tmp_path / "out2")


def test_the_coco_profile_draws_with_replacement(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=SCALES)
    profile = replace(PROFILE, images_per_class=40)
    first = corridor.cluster(workspace, profile=profile)
    everything = corridor.cluster(workspace, profile=PROFILE, overwrite=True)
    for name in ("sheep", "train"):
        drawn, plain = first.classes[name], everything.classes[name]
        total = drawn["object_vectors"] + drawn["rest_vectors"]
        assert total > 5 * (plain["object_vectors"] + plain["rest_vectors"])


def test_the_filter_follows_the_features_and_is_written_down(tmp_path, data, classifier, monkeypatch):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=SCALES)

    def recorded() -> str:
        return Prototypes.load(workspace.prototypes).provenance.profile.filter

    after_relu = corridor.cluster(workspace, profile=PROFILE)
    assert (after_relu.filter, recorded()) == ("softmax", "softmax")
    assert not any("filtered by" in notice for notice in after_relu.notices)
    with pytest.raises(LpcamError, match="made with filter softmax, not quantile"):
        corridor.cluster(workspace, profile=replace(PROFILE, filter="quantile"))
    rows = FeatureStore.rows
    monkeypatch.setattr(FeatureStore, "rows", lambda store, photos: (each - 0.5 for each in rows(store, photos)))
    signed = corridor.cluster(workspace, profile=PROFILE, overwrite=True)
    assert (signed.as_json()["filter"], recorded()) == ("rank", "rank")
    assert signed.notices[0].startswith("centres are filtered by rank: these features have negative values")
    asked = corridor.cluster(workspace, profile=replace(PROFILE, filter="softmax"), overwrite=True)
    assert (asked.filter, recorded()) == ("softmax", "softmax")
    assert not any("filtered by" in notice for notice in asked.notices)


def test_drawing_without_replacement_takes_each_image_at_most_once(tmp_path, data, classifier):
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, classifier, scales=SCALES)
    without = replace(PROFILE, images_per_class=40, draw="without")
    drawn = corridor.cluster(workspace, profile=without)
    kept = Prototypes.load(workspace.prototypes).centres
    everything = corridor.cluster(workspace, profile=PROFILE, overwrite=True)
    assert drawn.classes == everything.classes
    assert torch.equal(kept[0].vectors, Prototypes.load(workspace.prototypes).centres[0].vectors)
    photos = [Photo(f"{index:02}", tmp_path, (1, 2)) for index in range(50)]
    for count in (1, 20, 49):
        some = gathering.draw(photos, replace(without, images_per_class=count), seed=0, label=1)
        assert len({photo.name for photo in some}) == count
        assert some == sorted(some, key=lambda photo: photo.name)
    assert some != gathering.draw(photos, replace(without, images_per_class=49), seed=0, label=2)


def test_classes_without_object_vectors_are_reported(tmp_path, data, classifier):
    data.classes.write_text("sheep\ntrain\nboat\n")
    state = torch.load(classifier.weights, weights_only=True)
    three = tmp_path / "three.pth"
    state["fc.weight"] = torch.cat([state["fc.weight"], torch.zeros(1, state["fc.weight"].shape[1])])
    torch.save(state, three)
    workspace = Workspace(tmp_path / "w")
    corridor.extract_features(workspace, data, replace(classifier, weights=three), scales=SCALES)
    report = corridor.cluster(workspace, profile=PROFILE)
    assert report.classes["boat"]["object_vectors"] == 0
    assert any(notice.startswith("boat: no position") for notice in report.notices)
    assert report.as_json()["fallback_classes"] == sum(found["fallback"] for found in report.classes.values())


def test_photos_that_do_not_fit_into_memory_are_told_and_the_rest_is_whole(tmp_path, data, classifier, monkeypatch):
    seen = Forward._timed

    def exhausted(forward, images):
        if len(images) > 2 or images.shape[2:] == (33, 57):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return seen(forward, images)

    monkeypatch.setattr(Forward, "_timed", exhausted)
    workspace, told = (
        Workspace(tmp_path / "w"),
        "out of memory: batches were halved 2 times; a smaller --batch-size fits",
    )
    execution = Execution(device="cpu", batch_size=3)
    extracted = corridor.extract_features(workspace, data, classifier, scales=(1.0,), execution=execution)
    corridor.cluster(workspace, profile=PROFILE)
    generated = corridor.generate(workspace, methods=("cam",), execution=execution)
    for report in (extracted, generated):
        assert [failure.name for failure in report.failures] == ["2007_000003"]
        assert "a photo of 33×57 px at the scales 1 does not fit" in report.failures[0].reason
        assert (report.images, report.notices) == (5, (told,))
    assert len(list(workspace.seeds("cam", "irn").glob("*.npy"))) == 5
    undumped = corridor.run(
        Workspace(tmp_path / "u"), data, classifier, scales=(1.0,), profile=PROFILE, dump=False, execution=execution
    )
    assert undumped.extracted.notices == (told,)
