"""benchmarks.tutorial: it types what the page says, times it, and stops where a command does not end well."""

from __future__ import annotations

import json

import pytest

from benchmarks import tables, tutorial
from benchmarks.blocks import Block, blocks
from lpcam.errors import LpcamError
from lpcam.files import write_json

PAGE = """
Say it:

    lpcam run \\
      --json   # all of it
    # a comment

    lpcam report

- a list
    with a line that is none

```python
print(1)
```

```sh
make x
```

```text
lpcam shown
```

```sh title="job.sh"
lpcam saved
```
"""


def test_blocks_of_a_page():
    assert [(block.language, block.title, block.line) for block in blocks(PAGE)] == [
        *[("", "", 4), ("python", "", 13), ("sh", "", 17)],
        *[("text", "", 21), ("sh", "job.sh", 25)],
    ]
    assert blocks(PAGE)[0].commands == ("lpcam run --json", "lpcam report")
    assert blocks(PAGE)[1] == Block("python", "", "print(1)\n", 13)


def test_what_is_typed():
    assert list(tutorial.steps_of(PAGE)) == [
        *["lpcam run --json", "lpcam report", "python - <<'END'\nprint(1)\nEND", "make x"]
    ]


@pytest.fixture
def page(tmp_path, monkeypatch):
    def write(text: str) -> None:
        (tmp_path / "docs").mkdir()
        (tmp_path / tutorial.PAGE).write_text(text, encoding="utf-8")
        monkeypatch.setattr(tutorial, "ROOT", tmp_path)

    return write


def test_steps_follow_one_another_in_one_shell(page, tmp_path):
    page("    make setup\n    mkdir here\n    cd here\n\n```python\nprint(6 * 7)\n```\n\n    sleep .2; echo $PWD\n")
    found = tutorial.run(tutorial.Settings(installed=True), tmp_path)
    assert [step["output"] for step in found.results["steps"]] == ["", "", "42", "here"]
    assert found.results["steps"][3]["seconds"] > 0.15 > found.results["steps"][0]["seconds"]


def test_a_step_that_fails_is_named(page, tmp_path):
    page("    true\n    false\n    true\n")
    with pytest.raises(LpcamError, match=r"docs/tutorial\.md did not end well: false"):
        tutorial.run(tutorial.Settings(installed=True), tmp_path)


def test_the_tables_are_of_the_record(tmp_path, monkeypatch):
    steps = [
        {"command": "lpcam cluster -w first/run", "seconds": 1.6, "output": "a  b"},
        {"command": "python - <<'END'\nprint(1)\nEND", "seconds": 2.0, "output": "1"},
    ]
    write_json(tmp_path / "tutorial.json", {"results": {"steps": steps}})
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.TABLES["tutorial-cluster"]() == "```text\na  b\n```"
    assert tables.tutorial_steps().splitlines()[2:] == [
        *["| `lpcam cluster -w first/run` | 2 |", "| `python - <<'END'` | 2 |", "| together | 4 |"]
    ]


def test_every_output_that_the_page_shows_is_of_a_command_it_has():
    shown = {name: table for name, table in tables.TABLES.items() if hasattr(table, "args")}
    typed = list(tutorial.steps_of(tables.TUTORIAL.read_text(encoding="utf-8")))
    assert [name for name, table in shown.items() if table.args[0] not in typed] == []


def test_every_command_of_the_page_knows_its_help(tmp_path):
    tutorial.main(["--dry-run", "--out", str(tmp_path)])
    steps = json.loads((tmp_path / "tutorial.json").read_text())["results"]["steps"]
    assert [
        step["command"] for step in steps if step["command"].startswith("lpcam") and "Usage:" not in step["output"]
    ] == []
