"""The README and the pages with numbers: tables are what the results say (tests/docs runs the commands)."""

from __future__ import annotations

import json
import re

import pytest

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

TEXT = README.read_text(encoding="utf-8")


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
