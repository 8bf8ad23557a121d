"""A hundred tiny photos, one in twenty-five broken, by the commands: each broken one is reported, none is lost."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from lpcam_cli.main import main

from benchmarks import many
from lpcam.sources import DataSource

PHOTOS = 100
REASONS = {"truncated": "truncated", "empty": "cannot identify", "text": "cannot identify", "vanished": "not exist"}


@pytest.fixture(scope="module")
def painted(tmp_path_factory) -> tuple[Path, set[str]]:
    root = tmp_path_factory.mktemp("many")
    many.teach(root, many.DRY)
    return root / "data", many.paint(root / "data", PHOTOS, every=25)


def lpcam(root: Path, line: str) -> Result:
    with many.vanishing(root):
        return CliRunner().invoke(main, shlex.split(line.format(w=root / "work", root=root)), catch_exceptions=False)


def test_every_broken_photo_is_reported_and_no_other_is_lost(painted, monkeypatch):
    root, broken = painted
    assert sorted(name.partition("_")[2] for name in broken) == sorted(many.BROKEN)
    whole = {path.stem for path in (root / "photos").glob("*.jpg")} - broken
    data = "--dataset folder --root {root}/photos --split all --classes {root}/classes.txt"
    reads, listed = "--scales 1,.5 --device cpu --json -w {w}", DataSource.open
    with monkeypatch.context() as patched:
        patched.setattr(DataSource, "open", lambda source: many.hidden(listed(source)))
        extracted = lpcam(root, f"extract-features {data} --arch demo --weights {{root}}/../net.pth {reads}")
    clustered = lpcam(root, "cluster --k 3 -w {w}")
    with monkeypatch.context() as patched:
        patched.setattr(DataSource, "open", lambda source: many.hidden(listed(source)))
        generated = lpcam(root, f"generate --method cam,lpcam {reads}")
    scored, shown = lpcam(root, "evaluate --method lpcam --json -w {w}"), lpcam(root, "report -w {w}")
    assert [end.exit_code for end in (extracted, clustered, generated, scored, shown)] == [3, 0, 3, 0, 0]
    for end in (extracted, generated):
        told = json.loads(end.stdout)
        assert {failure["name"] for failure in told["failures"]} == broken
        assert (told["images"], told["failed"]) == (PHOTOS - len(broken), len(broken))
        for failure in told["failures"]:
            assert REASONS[failure["name"].partition("_")[2]] in failure["reason"]
    lines = [json.loads(line) for line in (root / "work/failures.jsonl").read_text().splitlines()]
    stages = ("extract-features", "generate")
    assert {(line["stage"], line["name"]) for line in lines} == {(stage, name) for stage in stages for name in broken}
    for method in many.METHODS:
        assert {path.stem for path in (root / "work/seeds" / method / "irn").glob("*.npy")} == whole
    assert json.loads(scored.stdout)["images"] == len(whole)

    again = json.loads(lpcam(root, f"generate --method cam,lpcam {reads}").stdout)
    (back,) = (name for name in broken if name.endswith("vanished"))
    assert {failure["name"] for failure in again["failures"]} == broken - {back}, "it came back, and is done now"
    assert (again["images"], again["skipped"]) == (1, len(whole))
