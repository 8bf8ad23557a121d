"""workspace: names, the failures file, and the refusal to mix two runs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from lpcam.errors import LpcamError
from lpcam.records import Failure
from lpcam.workspace import SEED_RECORD, Workspace, claim_seeds


def test_names_are_the_contracts(tmp_path):
    workspace = Workspace(tmp_path)
    paths = [workspace.features, workspace.prototypes, workspace.seeds("cam", "irn"), workspace.evaluation("cam")]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "features",
        "prototypes.safetensors",
        "seeds/cam/irn",
        "evaluation/cam.json",
    ]


def test_failures_replace_their_own_stage_only(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.record_failures("extract-features", (Failure("a", "x"), Failure("b", "y")))
    workspace.record_failures("generate", (Failure("c", "z"),))
    workspace.record_failures("extract-features", (Failure("b", "y"),))
    lines = [json.loads(line) for line in workspace.failures.read_text().splitlines()]
    assert [(line["stage"], line["name"]) for line in lines] == [("generate", "c"), ("extract-features", "b")]
    workspace.record_failures("generate", ())
    workspace.record_failures("extract-features", ())
    assert workspace.failures.read_text() == ""


def test_no_failures_no_file(tmp_path):
    Workspace(tmp_path).record_failures("generate", ())
    assert not (tmp_path / "failures.jsonl").exists()


def test_failures_of_other_photos_stay(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.record_failures("generate", (Failure("c", "x"), Failure("a", "y")), {"a", "b", "c"})
    workspace.record_failures("generate", (Failure("e", "x"),), {"d", "e"})
    workspace.record_failures("generate", (), {"c"})
    names = [json.loads(line)["name"] for line in workspace.failures.read_text().splitlines()]
    assert names == ["a", "e"]


def test_processes_of_one_run_claim_at_once(tmp_path):
    def claim(index):
        claim_seeds(tmp_path, {"method": "cam"}, f"split {index % 5}", "p", overwrite=False)
        seed(tmp_path, f"{index}.npy")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(claim, range(40)))
    assert len(json.loads((tmp_path / SEED_RECORD).read_text())["splits"]) == 5


def seed(folder, name="a.npy"):
    (folder / name).write_bytes(b"seed")


def test_the_same_run_goes_on(tmp_path):
    claim_seeds(tmp_path, {"method": "cam"}, "train", "p", overwrite=False)
    seed(tmp_path)
    claim_seeds(tmp_path, {"method": "cam"}, "train", "p", overwrite=False)
    claim_seeds(tmp_path, {"method": "cam"}, "val", "q", overwrite=False)
    assert (tmp_path / "a.npy").exists()
    assert json.loads((tmp_path / SEED_RECORD).read_text())["splits"] == {"train": "p", "val": "q"}


@pytest.mark.parametrize(("made_by", "photos"), [({"method": "lpcam"}, "p"), ({"method": "cam"}, "relabelled")])
def test_another_run_is_refused_and_nothing_is_lost(tmp_path, made_by, photos):
    claim_seeds(tmp_path, {"method": "cam"}, "train", "p", overwrite=False)
    seed(tmp_path)
    with pytest.raises(LpcamError, match="--overwrite"):
        claim_seeds(tmp_path, made_by, "train", photos, overwrite=False)
    assert (tmp_path / "a.npy").exists()
    claim_seeds(tmp_path, made_by, "train", photos, overwrite=True)
    assert not (tmp_path / "a.npy").exists()


def test_seeds_of_another_tool_are_refused(tmp_path):
    seed(tmp_path)
    with pytest.raises(LpcamError, match="another tool"):
        claim_seeds(tmp_path, {}, "train", "p", overwrite=False)


def test_a_damaged_record_is_one_line(tmp_path):
    (tmp_path / SEED_RECORD).write_text("{")
    with pytest.raises(LpcamError, match="choose another --out"):
        claim_seeds(tmp_path, {}, "train", "p", overwrite=False)


def test_overwriting_takes_the_parts_of_the_other_run_away_and_nothing_else(tmp_path):
    folder, beside = tmp_path / "seeds", tmp_path / "beside"
    record = {"parts": {"la_crf": {}, "../beside": {}, str(beside): {}}}
    claim_seeds(folder, record, "train", "p", overwrite=False)
    for place in (folder, folder / "la_crf", folder / "ha_crf", folder / "other", beside):
        place.mkdir(exist_ok=True)
        seed(place)
    (folder / "mine.png").write_bytes(b"")
    claim_seeds(folder, {"parts": {"ha_crf": {}}}, "train", "p", overwrite=True)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.[np][pn][yg]")) == [
        "beside/a.npy",
        "seeds/mine.png",
        "seeds/other/a.npy",
    ]


def test_parts_alone_are_a_run_too(tmp_path):
    (tmp_path / "la_crf").mkdir()
    seed(tmp_path / "la_crf")
    with pytest.raises(LpcamError, match="--overwrite"):
        claim_seeds(tmp_path, {"parts": {"la_crf": {}}}, "train", "p", overwrite=False)


def test_a_damaged_record_can_be_overwritten(tmp_path):
    (tmp_path / SEED_RECORD).write_text("{")
    claim_seeds(tmp_path, {"method": "cam"}, "train", "p", overwrite=True)
    assert json.loads((tmp_path / SEED_RECORD).read_text())["made_by"] == {"method": "cam"}
