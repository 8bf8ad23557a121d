"""The README: its commands and its Python run as they stand, its tables are what the results say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lpcam_cli.main import main
from torchvision.models import resnet50

from benchmarks.tables import README, TABLES, with_tables
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


def test_the_python_block_runs(voc2012, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102
    assert "miou" in capsys.readouterr().out


def test_the_tables_are_what_the_results_say():
    assert all(f"<!-- {name}:begin -->" in TEXT for name in TABLES)
    assert with_tables(TEXT) == TEXT, "run python -m benchmarks.tables"


def test_a_changed_result_changes_the_table(tmp_path, monkeypatch):
    from benchmarks import tables

    for path in tables.RESULTS.glob("*.json"):
        (tmp_path / path.name).write_text(re.sub(r'"miou": 0\.', '"miou": 0.1', path.read_text()))
    write_json(tmp_path / "x.json", {})
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.with_tables(TEXT) != TEXT


def test_linked_files_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_two_commands_are_the_makefiles():
    makefile = (README.parent / "Makefile").read_text()
    assert "    make demo\n    make test\n" in TEXT
    assert "\ndemo: setup\n" in makefile
    assert "\ntest: setup\n" in makefile
    run = (README.parent / ".ci/run").read_text()
    assert re.findall(r"^make .*$", run, re.MULTILINE) == ["make check", "make test"]
