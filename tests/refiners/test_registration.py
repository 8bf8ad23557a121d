"""refiners: a family is one class and one line, as docs/contributing.md shows it; the docs' tables are the code's."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from lpcam_cli.main import main

from lpcam import corridor
from lpcam.refiners import REFINERS
from tests.docs.diffs import added
from tests.refiners import table

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def toy(monkeypatch) -> str:
    """Register the toy of docs/contributing.md in this process: the file that its diff adds, and the line."""
    block = added("lpcam/refiners/toy.py")
    ((name, place),) = re.findall(r'^ +"(toy)": "(.*)",$', added("lpcam/refiners/__init__.py"), re.MULTILINE)
    module = ModuleType("lpcam.refiners.toy")
    exec(compile(block, "toy.py", "exec"), module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "lpcam.refiners.toy", module)
    monkeypatch.setitem(REFINERS, name, place)
    return name


def test_a_toy_family_goes_the_whole_way(toy, tmp_path, data, classifier):
    from tests.corridor.test_whole import run

    workspace = run(tmp_path / "w", data, classifier)
    report = corridor.generate(workspace, refiner=toy)
    assert (report.images, report.next_steps) == (6, ())
    scores = corridor.evaluate(workspace, refiner=toy).as_json()
    assert abs(scores["miou"] - corridor.evaluate(workspace).as_json()["miou"]) < 0.02  # a byte a value
    arguments = ["--from", workspace.seeds("lpcam", toy), "--from-refiner", toy]
    arguments += ["--to", tmp_path / "out", "--to-refiner", "sipe", "--json"]
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 6
    assert np.load(tmp_path / "out/2007_000002.npy", allow_pickle=True).item()["keys"].tolist() == [0, 1, 2]
    refused = CliRunner().invoke(main, ["generate", "--refiner", toy, "--crf", "-w", str(workspace.root)])
    assert "toy reads nothing that a CRF makes: leave --crf out" in refused.stderr


@pytest.mark.parametrize("name", sorted(table.TABLES))
def test_the_tables_of_the_docs_are_the_codes(name):
    text = table.PAGE.read_text(encoding="utf-8")
    assert table.with_tables(text) == text, "run python -m tests.refiners.table"
    assert f"<!-- {name}:begin -->" in text


def test_every_test_that_the_docs_name_exists():
    text = table.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text))
    assert named
    for path, function in named:
        assert f"def {function}(" in (DOCS.parent / path).read_text(encoding="utf-8") or not function


def test_the_commands_of_the_docs_take_the_options_they_name():
    from click import Context

    for page in ("refiners.md", "contributing.md"):
        for line in re.findall(r"^    lpcam (.*)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE):
            name, *words = line.split()
            command = main.get_command(Context(main), name)
            assert command is not None
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= options
