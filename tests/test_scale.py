"""docs/scale.md: its commands take the options it names, its tables are what the results say."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from click import Context
from lpcam_cli.main import main

from benchmarks import scale
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
    assert len(COMMANDS) == 7
    for option in ("--engine local", "--processes", "--shard auto", "--ray-address auto", "--threads", "--spread"):
        assert option in TEXT


def test_the_tables_are_what_the_results_say():
    assert all(f"<!-- {name}:begin -->" in TEXT for name in TABLES)
    assert with_tables(TEXT, TABLES) == TEXT, "run python -m benchmarks.scale"


def test_many_photos_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "RESULTS", tmp_path)
    assert scale.many() == scale.many_broken() == "Not measured yet: `python -m benchmarks.many`."
    stages = [{"evaluate": {"seconds": seconds, "bytes": 3 << 20}} for seconds in (1.04, 2.0)]
    shared = {"broken": 4, "misjudged": 0, "misseeded": 0}
    runs = [{"photos": photos, "stages": of, **shared} for photos, of in zip((200, 4000), stages, strict=True)]
    record = {"settings": {"size": [48, 64]}, "results": {"runs": runs}}
    (tmp_path / "many.json").write_text(json.dumps(record))
    assert scale.many().splitlines()[-1] == "| `evaluate` | 1.0 | 2.0 | 3 | 3 |"
    assert "Of 4,000 photos of 48×64, 4 were broken" in scale.many_broken()
    assert "3,996 have their seeds, and 0 were taken for the other kind" in scale.many_broken()


def test_the_paper_by_hand():
    coco = next(photos for photos in SETS if photos.name.startswith("COCO"))
    assert coco.positions == 30 * 40
    assert coco.feature_bytes == pytest.approx(1200 * (2 * 2048 + 4 * 2.9))
    assert coco.seed_bytes == pytest.approx(2.9 * 4 * (480 * 640 + 120 * 160))
