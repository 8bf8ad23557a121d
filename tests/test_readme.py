"""The README and the pages with numbers: commands and Python run as they stand, tables are what the results say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main
from torchvision.models import resnet18, resnet50

from benchmarks import plots
from benchmarks.tables import (
    ABLATION,
    MAKE_BENCH,
    METHODOLOGY,
    PAGES,
    PERFORMANCE,
    README,
    RESULTS,
    TABLES,
    with_tables,
)
from lpcam.files import write_json
from tests.conftest import make_voc

TEXT = README.read_text(encoding="utf-8")
NAMES = ("2007_000000", "2007_000001")


@pytest.fixture
def voc2012(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README names: VOC2012/, cls_labels.npy and an IRN checkpoint, all small or random."""
    make_voc(tmp_path / "VOC2012", [(40, 56), (44, 40)])
    labels = {name: np.eye(20, dtype=np.float32)[index] for index, name in enumerate(NAMES)}
    np.save(tmp_path / "cls_labels.npy", labels, allow_pickle=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = resnet50(num_classes=20).state_dict()
        weight = torch.rand(20, 2048, 1, 1)
    state = {f"resnet50.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}
    torch.save({**state, "classifier.weight": weight}, tmp_path / "res50_cam.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_three_commands_make_irn_seeds(voc2012):
    lines = re.findall(r"^    (lpcam .*)$", TEXT, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["extract-features", "cluster", "generate"]
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, result.stderr
    for name in NAMES:
        seed = np.load(voc2012 / f"lpcam_work/seeds/lpcam/irn/{name}.npy", allow_pickle=True).item()
        assert set(seed) == {"keys", "cam", "high_res"}


def test_the_python_blocks_run(voc2012, capsys):
    of_a_model, of_the_corridor = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    images = torch.rand(2, 3, 64, 64)
    names = {
        "model": resnet18(num_classes=20),
        "loader": [(images, [[11], [3, 14]])],
        "images": images,
    }
    exec(compile(of_a_model, "README.md", "exec"), names)  # noqa: S102
    assert [tuple(maps.shape) for maps in names["maps"]] == [(1, 64, 64), (2, 64, 64)]
    exec(compile(of_the_corridor, "README.md", "exec"), {})  # noqa: S102
    assert "miou" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_what_the_results_say(page):
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run python -m benchmarks.tables"


def test_every_table_stands_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(f"<!-- {name}:begin -->" in text for name in TABLES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_benchmark_that_is_named_exists(page):
    named = re.findall(r"python -m benchmarks\.([a-z_]+)", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (METHODOLOGY.parent / f"{name}.py").is_file()] == []


def test_no_measured_number_is_typed_by_hand():
    text = re.sub(
        r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", "", PERFORMANCE.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert re.findall(r"\d[\d.]*\s*(?:s|ms|seconds|milliseconds|MB|GB|% faster|× faster|times faster)\b", text) == []


def test_make_bench_runs_what_the_tables_show():
    makefile = (README.parent / "Makefile").read_text()
    assert f"for name in {' '.join(MAKE_BENCH)}; do" in makefile


def test_every_plot_is_drawn_from_the_results(tmp_path):
    drawn = {path.name for path in plots.write(tmp_path)}
    assert drawn == {path.name for path in plots.PLOTS.glob("*.png")}
    shown = (re.findall(r"plots/(\w+\.png)", page.read_text(encoding="utf-8")) for page in (PERFORMANCE, ABLATION))
    assert drawn == {name for names in shown for name in names}


def test_a_plot_shows_every_number_and_the_limit():
    record = json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))
    for name, sweep in record["results"].items():
        (axes,) = plots.draw(record)[f"cost_{name}"].axes
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert [list(line.get_ydata()) for line in axes.lines] == [s["seconds"] for s in sweep["series"].values()]
        assert [line.get_linestyle() == "--" for line in axes.lines] == [s["limit"] for s in sweep["series"].values()]


def test_a_changed_result_changes_the_table(tmp_path, monkeypatch):
    from benchmarks import tables

    for path in tables.RESULTS.glob("*.json"):
        (tmp_path / path.name).write_text(re.sub(r'"miou": 0\.', '"miou": 0.1', path.read_text()))
    write_json(tmp_path / "x.json", {})
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.with_tables(TEXT) != TEXT


@pytest.mark.parametrize("page", [README, PERFORMANCE], ids=lambda page: page.name)
def test_linked_files_exist(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_two_commands_are_the_makefiles():
    makefile = (README.parent / "Makefile").read_text()
    assert "    make demo\n    make test\n" in TEXT
    assert "\ndemo: setup\n" in makefile
    assert "\ntest: setup browser\n" in makefile
    run = (README.parent / ".ci/run").read_text()
    assert re.findall(r"^make .*$", run, re.MULTILINE) == ["make check", "make test"]
