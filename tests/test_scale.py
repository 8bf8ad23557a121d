"""docs/scale.md: its commands take the options it names, its tables are what the results say."""

from __future__ import annotations

import re
import shlex

import pytest
from click import Context
from lpcam_cli.main import main

from benchmarks.scale import PAGE, SETS, TABLES
from benchmarks.tables import with_tables

TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ *(?:torchrun .*)?(lpcam .*)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_can_be_parsed(line):
    _, name, *arguments = shlex.split(line)
    command = main.get_command(Context(main), name)
    assert command is not None
    command.make_context(name, arguments)


def test_the_page_shows_every_way():
    assert len(COMMANDS) == 6
    for option in ("--engine local", "--processes", "--shard auto", "--ray-address auto", "--threads"):
        assert option in TEXT


def test_the_tables_are_what_the_results_say():
    assert all(f"<!-- {name}:begin -->" in TEXT for name in TABLES)
    assert with_tables(TEXT, TABLES) == TEXT, "run python -m benchmarks.scale"


def test_the_paper_by_hand():
    coco = next(photos for photos in SETS if photos.name.startswith("COCO"))
    assert coco.positions == 30 * 40
    assert coco.feature_bytes == pytest.approx(1200 * (2 * 2048 + 4 * 2.9))
    assert coco.seed_bytes == pytest.approx(2.9 * 4 * (480 * 640 + 120 * 160))
