"""The demo end to end, small: real files, the corridor's own numbers, a page that shows them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lpcam import corridor
from lpcam.datasets.demo_scenes import CLASSES
from lpcam.demo import SETTLED, TITLES, run_demo
from lpcam.errors import LpcamError
from lpcam.training.demo import DemoRecipe
from lpcam.workspace import Workspace

QUICK = DemoRecipe(epochs=2)


@pytest.fixture(scope="module")
def calls():
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory, calls):
    out = tmp_path_factory.mktemp("demo")
    return run_demo(out, seed=1, train=8, val=2, recipe=QUICK, progress=lambda *call: calls.append(call))


def test_the_rows_are_cam_class_prototypes_lpcam_and_what_settles_on_edges(result):
    assert [row.title for row in result.rows] == ["CAM", "class prototypes only", "LPCAM", "LPCAM, PAMR"]
    assert [row.method for row in result.rows] == [*TITLES, SETTLED]
    for row in result.rows:
        assert 0 <= row.miou <= 1
        assert 0 <= row.held_out_miou <= 1
        assert list(row.per_class) == ["background", *CLASSES]
        shown = [value for value in row.per_class.values() if value is not None]
        assert row.miou == pytest.approx(sum(shown) / len(shown))


def test_the_numbers_are_those_the_evaluate_command_prints(result):
    settled = Workspace(result.workspace).root / "seeds-on-edges/lpcam/irn"
    for row in result.rows:
        seeds = {"method": "lpcam", "seeds": settled} if row.method == SETTLED else {"method": row.method}
        report = corridor.evaluate(Workspace(result.workspace), **seeds).as_json()
        assert (report["miou"], report["threshold"]) == (row.miou, row.threshold)
        assert (report["precision"], report["recall"]) == (row.precision, row.recall)


def test_the_last_line_is_of_settled_seeds_of_every_photo(result):
    folder = Workspace(result.workspace).root / "seeds-on-edges/lpcam/irn"
    made_by = json.loads((folder / ".lpcam-seeds.json").read_text())["made_by"]
    assert made_by["propagation"] == {"edges": "pamr"}
    assert len(list(folder.glob("*.npy"))) == 10


def test_the_workspace_keeps_the_scores_of_the_training_photos(result):
    for row in result.rows[:-1]:
        kept = json.loads(Workspace(result.workspace).evaluation(row.method).read_text())
        assert (kept["split"], kept["images"]) == ("train", 8)


def test_every_method_left_seeds_of_every_photo(result):
    for row in result.rows[:-1]:
        assert len(list(Workspace(result.workspace).seeds(row.method, "irn").glob("*.npy"))) == 10


def test_the_table_is_as_wide_as_its_headings_and_in_percent(result):
    assert {len(line) for line in result.cells} == {len(result.columns)}
    assert result.columns[:2] == ("method", "mIoU")
    assert result.cells[0][1] == f"{100 * result.rows[0].miou:.1f}"


def test_the_result_is_json(result):
    value = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert [method["method"] for method in value["methods"]] == [*TITLES, SETTLED]
    assert value["page"].endswith("index.html")
    assert set(value["prototypes"]) == set(CLASSES)
    assert set(value["seconds"]) == {"paint", "train", "extract-features", "cluster", "generate", "evaluate", "report"}


def test_the_page_shows_the_table_and_how_to_make_it_again(result):
    html = result.page.read_text(encoding="utf-8")
    for line in result.cells:
        for cell in line[:5]:
            assert cell in html
    assert "lpcam demo --seed 1" in html


def test_the_overview_is_small_enough_for_a_readme(result):
    assert result.overview.stat().st_size <= 300_000
    with Image.open(result.overview) as overview:
        assert overview.format == "PNG"
        assert np.asarray(overview.convert("RGB")).std() > 20


def test_progress_names_every_stage(result, calls):
    stages = [stage for stage, _, _ in calls]
    assert {"paint", "train", "gallery", "evaluate"} <= set(stages)
    assert all(0 <= done <= total for _, done, total in calls)


def test_again_in_the_same_folder_gives_the_same(result, tmp_path_factory):
    out = result.data.parent
    before = result.page.read_bytes(), result.weights.read_bytes()
    again = run_demo(out, seed=1, train=8, val=2, recipe=QUICK)
    assert [row.miou for row in again.rows] == [row.miou for row in result.rows]
    assert (again.page.read_bytes(), again.weights.read_bytes()) == before


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LpcamError, match="permissions"):
        run_demo(tmp_path / "file", train=8, val=0)
