"""-v, -q and colour: what is said, where, and nothing more."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from click.testing import CliRunner, Result
from lpcam_cli.colours import wants_colour
from lpcam_cli.main import main
from lpcam_cli.progress import shown_progress


def lpcam(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


@pytest.fixture
def stages(voc_root, checkpoint, tmp_path) -> list[list[object]]:
    data = ["--dataset", "voc", "--root", voc_root, "--labels", voc_root / "labels.csv"]
    network = ["--classes", voc_root / "classes.txt", "--arch", "demo", "--weights", checkpoint, "--scales", 1]
    work = ["-w", tmp_path / "w"]
    return [
        ["extract-features", *data, *network, *work],
        ["cluster", "--k", 3, *work],
        ["generate", "--method", "cam,lpcam", *work],
        ["evaluate", *work],
    ]


def test_quiet_is_the_result_line_alone(stages):
    for stage in stages:
        result = lpcam(*stage, "-q")
        assert result.exit_code == 0, result.stderr
        assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["done"]
        assert result.stderr == ""


def test_quiet_says_what_failed(stages, voc_root):
    (voc_root / "JPEGImages/2007_000003.jpg").write_bytes(b"junk")
    result = lpcam("-q", *stages[0])
    assert result.exit_code == 3
    assert result.stderr.startswith("failed: 2007_000003: cannot read")
    assert result.stdout.startswith("done: features of 5 photos")


def test_verbose_says_what_is_decided_and_changes_nothing_else(stages, tmp_path):
    said = []
    for stage in stages:
        for words in (["-v", *stage], [*stage, "--verbose"]):  # before the command, or behind
            result = lpcam(*words)
            assert result.exit_code == 0, result.stderr
            said.append(result.stderr)
    first, again = said[0], said[1]
    for what in ("lpcam ", "torch ", "Python ", "6 photos, 6 with masks, 2 classes", "demo from", "float32 on cpu by"):
        assert what in first
    assert "shard 0 is written: 6 photos, 0 failed" in first
    assert f"{tmp_path / 'w/features'} is complete and kept" in again
    assert "filter softmax, k 3, tau 0.1" in said[2]
    assert "prototypes.safetensors was made so and is kept" in said[3]
    assert "seeds of 6 photos are to be written, those of 0 are kept" in said[4]
    assert "seeds of 0 photos are to be written, those of 6 are kept" in said[5]
    assert f"6 of 6 photos have seeds in {tmp_path / 'w/seeds/lpcam/irn'} and a mask" in said[6]
    logger = logging.getLogger("lpcam")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET
    assert "torch " not in lpcam(*stages[3]).stderr


def test_verbose_json_is_one_object_on_stdout(stages):
    result = lpcam(*stages[0], "-v", "--json")
    assert json.loads(result.stdout)["images"] == 6
    assert "float32 on cpu" in result.stderr


def test_both_are_a_usage_error(stages):
    for words in (["-q", *stages[3], "-v"], [*stages[3], "-vq"]):
        result = lpcam(*words)
        assert result.exit_code == 2
        assert "opposites" in result.stderr


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"NO_COLOR": ""}, None),
        ({"NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_when_colour_is_wanted(environment, wanted):
    assert wants_colour(environment) is wanted


def test_colour_is_in_what_is_printed_only_where_it_is_wanted(stages):
    lpcam(*stages[0])
    plain = lpcam(*stages[1]).stdout
    assert "\033" not in plain
    coloured = lpcam(*stages[1], FORCE_COLOR="1").stdout
    assert "\033[32m\033[1mdone:\033[0m prototypes of 2 classes" in coloured
    assert "\033" not in lpcam(*stages[1], FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_dumb_terminal_gets_lines_in_place_of_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with shown_progress(quiet=False) as progress:
        progress("cluster", 1, 2)
    assert capsys.readouterr().err == "cluster: 1 of 2\n"


def test_tables_are_as_wide_as_columns_says_and_whole_in_a_pipe(stages):
    lpcam(*stages[0])
    long = lpcam(*stages[1]).stdout.splitlines()[0]
    assert long.split("  ")[0] == "class"
    assert long.rstrip().endswith("context prototypes")
    narrow = lpcam(*stages[1], COLUMNS="40").stdout.splitlines()
    assert max(len(line) for line in narrow if not line.startswith(("done", "next"))) <= 40
