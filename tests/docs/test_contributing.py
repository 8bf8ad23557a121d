"""docs/contributing.md: its changes apply to the tree as it is, and what they add runs.

The refiner and the backbone go the whole way in tests/refiners/test_registration.py and tests/test_backbones_page.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corridor.test_whole import run
from tests.docs.diffs import diffs
from tests.docs.following import ROOT

NEW = ["lpcam/backbones/toynet.py", "lpcam/methods/cosine.py", "lpcam/refiners/toy.py", "tests/methods/test_cosine.py"]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with all changes applied."""
    copy = tmp_path_factory.mktemp("changed") / "tree"
    for folder, name in {"lpcam": "lpcam", "cli": "lpcam_cli", "tests": "tests"}.items():
        shutil.copytree(ROOT / folder, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for number, diff in enumerate(diffs()):
        (copy / f"{number}.patch").write_text(diff, encoding="utf-8")
        subprocess.run(["git", "apply", f"{number}.patch"], cwd=copy, check=True)
    return copy


def test_the_page_adds_a_refiner_a_backbone_and_a_method(changed):
    assert len(diffs()) == 3
    assert [name for name in NEW if not (changed / name).is_file() or (ROOT / name).exists()] == []


def test_what_is_added_keeps_the_rules_of_the_house(changed):
    pytest.importorskip("ruff", reason="needs the dev extra")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *NEW], cwd=changed, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_what_is_added_runs(changed, tmp_path, data, classifier):
    workspace = run(tmp_path / "w", data, classifier)
    program = f"""
import sys, pytest, lpcam
from lpcam import Workspace, corridor
assert lpcam.__file__.startswith({str(changed)!r}), lpcam.__file__
workspace = Workspace({str(workspace.root)!r})
corridor.generate(workspace, methods=("cosine",), refiner="toy")
assert corridor.evaluate(workspace, method="cosine", refiner="toy").curve.images == 6
sys.exit(pytest.main(["-p", "no:cacheprovider", "tests/methods/test_cosine.py"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(changed)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=changed, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
