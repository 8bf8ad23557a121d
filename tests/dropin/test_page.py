"""docs/dropin.md: its tables are what the code says, its lines can be imported, its command takes its options."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import lpcam.dropin
from lpcam.dropin import REPOSITORIES, knobs
from lpcam.dropin.table import TABLES, repositories

PAGE = Path(__file__).parents[2] / "docs/dropin.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_what_the_code_says(name):
    begin, end = (f"<!-- dropin-{name}:{edge} -->\n" for edge in ("begin", "end"))
    assert f"{begin}{TABLES[name]()}\n{end}" in TEXT, "copy them from python -m lpcam.dropin"


@pytest.mark.parametrize("repository", repositories(), ids=lambda repository: repository.name)
def test_the_line_of_a_repository_works(repository):
    module = import_module(f"lpcam.dropin.{repository.name}")
    assert module.run == repository.run
    if repository.by.startswith("import "):
        names: dict[str, object] = {}
        exec(repository.by, names)  # noqa: S102
        assert names[repository.by.split(" as ")[1]] is module
    else:
        assert repository.by == f"python -m lpcam.dropin.{repository.name}"
    assert not {argument.name for argument in repository.arguments} & set(repository.unneeded)
    assert repository.next_step


def test_every_module_with_a_repository_is_listed():
    modules = [path.stem for path in Path(lpcam.dropin.__file__).parent.glob("*.py")]
    found = [name for name in modules if "REPOSITORY = " in (PAGE.parents[1] / f"lpcam/dropin/{name}.py").read_text()]
    assert sorted(found) == sorted(REPOSITORIES)


def test_every_knob_is_explained():
    assert re.findall(r"`lpcam_(\w+)` \| `(LPCAM_\w+)`", TEXT) == [(name, knobs.variable(name)) for name in knobs.NAMES]


def test_the_command_of_the_page_takes_its_options(place, capfd):
    (command,) = re.findall(r"    python -m lpcam\.dropin\.irn ((?:.*\\\n)*.*)\n", TEXT)
    words = shlex.split(command.replace("\\\n", ""))
    assert import_module("lpcam.dropin.irn").REPOSITORY.main(words) == 1
    assert "there is no sess/res50_cam.pth.pth nor sess/res50_cam.pth" in capfd.readouterr().err
