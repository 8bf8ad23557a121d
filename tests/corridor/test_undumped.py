"""corridor.undumped: the same prototypes and seeds as with a dump, and nothing on disk."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lpcam import corridor
from lpcam.engines import Placement
from lpcam.errors import LpcamError
from lpcam.profiles import get_profile
from lpcam.store import FeatureStore
from lpcam.workspace import Workspace

SCALES = (1.0, 0.5)
PROFILES = {
    "all photos": get_profile("voc", k=3, iterations=20),
    "drawn photos": get_profile("coco", k=3, iterations=20, images_per_class=2, tau=0.1),
}


def run(folder, data, classifier, profile="all photos", **options) -> corridor.RunReport:
    return corridor.run(Workspace(folder), data, classifier, scales=SCALES, profile=PROFILES[profile], **options)


def results(folder) -> dict[str, bytes]:
    paths = [folder / "prototypes.safetensors", *sorted(folder.glob("seeds/**/*.npy"))]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("profile", PROFILES)
def test_same_bytes_as_with_a_dump(tmp_path, data, classifier, profile):
    run(tmp_path / "dumped", data, classifier, profile)
    run(tmp_path / "not", data, classifier, profile, dump=False)
    assert results(tmp_path / "not") == results(tmp_path / "dumped")
    assert [path.name for path in (tmp_path / "not/features").iterdir() if path.name.startswith("shard")] == []


def test_photos_that_no_class_draws_are_not_looked_at(tmp_path, data, classifier):
    assert run(tmp_path / "all", data, classifier, dump=False).extracted.images == 6
    assert run(tmp_path / "few", data, classifier, "drawn photos", dump=False).extracted.images < 6


def test_where_a_drawn_photo_is_broken_the_classes_draw_from_the_others(tmp_path, data, classifier):
    broken = data.open().photos[:4]
    for photo in broken:
        photo.path.write_bytes(b"no picture")
    report = run(tmp_path / "w", data, classifier, "drawn photos", dump=False)
    assert {failure.name for failure in report.extracted.failures} <= {photo.name for photo in broken}
    assert report.extracted.failures
    left = data.open().photos[4:]
    assert 0 < report.extracted.images <= len(left)


def test_a_second_call_finds_the_prototypes_and_reads_no_photo(tmp_path, data, classifier):
    run(tmp_path / "w", data, classifier, dump=False)
    again = run(tmp_path / "w", data, classifier, dump=False)
    assert (again.extracted.images, again.extracted.skipped, again.generated.images) == (0, 6, 0)


def test_clustering_again_says_that_the_features_were_not_kept(tmp_path, data, classifier):
    run(tmp_path / "w", data, classifier, dump=False)
    workspace = Workspace(tmp_path / "w")
    with pytest.raises(LpcamError, match="not kept: run 'lpcam extract-features'"):
        corridor.cluster(workspace)
    corridor.extract_features(workspace, data, classifier, scales=SCALES)
    assert len(FeatureStore(workspace.features).photos) == 6


def test_features_on_disk_are_not_thrown_away(tmp_path, data, classifier):
    run(tmp_path / "w", data, classifier)
    before = sorted(path.name for path in (tmp_path / "w/features").iterdir())
    with pytest.raises(LpcamError, match="holds features on disk: leave --no-dump out"):
        run(tmp_path / "w", data, classifier, dump=False)
    assert sorted(path.name for path in (tmp_path / "w/features").iterdir()) == before
    run(tmp_path / "w", data, classifier, dump=False, overwrite=True)
    assert list((tmp_path / "w/features").glob("shard-*")) == []


def test_other_prototypes_are_not_replaced(tmp_path, data, classifier):
    run(tmp_path / "w", data, classifier, dump=False)
    with pytest.raises(LpcamError, match="was made with seed 0, not 1"):
        run(tmp_path / "w", data, classifier, dump=False, seed=1)


def test_features_that_do_not_fit_into_memory_are_refused_before_the_work(tmp_path, data, classifier, monkeypatch):
    monkeypatch.setattr("lpcam.corridor.undumped._free_bytes", lambda: 100)
    with pytest.raises(LpcamError, match=r"the features of 6 photos take about \d.* leave --no-dump out"):
        run(tmp_path / "w", data, classifier, dump=False)


@pytest.mark.parametrize(("wrong", "says"), [({"dtype": "float8"}, "dtype"), ({"scales": (0.5,)}, "lack 1")])
def test_options_that_cannot_be_kept_are_refused_as_with_a_dump(tmp_path, data, classifier, wrong, says):
    for dump in (True, False):
        options = {"scales": SCALES, **wrong, "dump": dump}
        with pytest.raises(LpcamError, match=says):
            corridor.run(Workspace(tmp_path / "w"), data, classifier, **options)


def test_memory_is_not_shared_between_processes(tmp_path, data, classifier):
    with pytest.raises(LpcamError, match="memory of one process"):
        run(tmp_path / "w", data, classifier, dump=False, placement=Placement(processes=2))


def test_a_broken_photo_is_named_and_the_others_are_clustered(tmp_path, data, classifier):
    photo = data.open().photos[0]
    photo.path.write_bytes(b"no picture")
    report = run(tmp_path / "w", data, classifier, dump=False)
    assert [failure.name for failure in report.extracted.failures] == [photo.name]
    assert json.loads((tmp_path / "w/failures.jsonl").read_text().splitlines()[0])["name"] == photo.name


def test_the_command_line_passes_it_on(monkeypatch, tmp_path):
    from lpcam_cli.main import main

    seen = []

    def noted(*_: object, **options: object) -> None:
        seen.append(options.get("dump"))
        raise LpcamError("noted")

    monkeypatch.setattr("lpcam.corridor.run", noted)
    needed = ["--dataset", "demo", "--root", "r", "--arch", "demo", "--weights", "w", "-w", str(tmp_path)]
    for words in (["--no-dump"], []):
        CliRunner().invoke(main, ["run", *needed, *words])
    assert seen == [False, None]
