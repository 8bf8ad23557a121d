"""Starting: no command imports what it does not use, and what takes seconds is imported by what cannot do without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lpcam.backbones.loading import own_architectures

from . import importing

ROOT = Path(__file__).parents[1]
SLOW = (
    *("torchvision", "torch._dynamo", "torch._inductor", "torch.onnx", "sympy", "triton", "timm", "openvino", "ray"),
    *("scipy", "sklearn", "matplotlib", "faiss", "cv2", "onnx", "pandas", "jinja2"),
)


def imported(*steps: list[str] | str) -> list[str]:
    """Return which slow modules commands, or code, import, each with the way that leads to it."""
    arguments = [sys.executable, "-m", importing.__name__, ",".join(SLOW), *map(json.dumps, steps)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.partition(" ")[0] in SLOW]


def test_the_stages_import_nothing_slow_beside_torch(voc_root, checkpoint, tmp_path):
    data = ["--dataset", "voc", "--root", str(voc_root), "--split", "train", "--labels", str(voc_root / "labels.csv")]
    data += ["--classes", str(voc_root / "classes.txt")]
    work = ["-w", str(tmp_path / "work"), "--json"]
    found = imported(
        ["extract-features", *data, "--arch", "demo", "--weights", str(checkpoint), *work],
        ["cluster", "--k", "2", *work],
        ["generate", "--method", "cam,lpcam", "--scales", "1", *work],
        ["evaluate", *work],
    )
    assert not found, "\n".join(found)
    assert (tmp_path / "work/evaluation/lpcam.json").is_file()


def test_the_repositories_networks_are_built_without_torchvision():
    build = """
from lpcam.backbones.classifier import stages_up_to
from lpcam.backbones.levels import levels_before_last
from lpcam.backbones.loading import features_of, misfits, untrained

assert features_of({arch!r})[0] >= 384
blueprint, _ = untrained({arch!r})
levels_before_last(stages_up_to(blueprint, blueprint.stages[-1]))
import torch
assert misfits({arch!r}, {{"cls_token": torch.zeros(1, 7, 384)}}, "a checkpoint")
"""
    found = imported(*(build.format(arch=arch) for arch in own_architectures()))
    assert not found, "\n".join(found)


def test_what_is_imported_is_said_with_the_way_to_it_and_no_list_of_architectures_needs_timm():
    listed = "from lpcam.backbones import known_architectures; known_architectures()"
    found = {line.partition(" ")[0]: line for line in imported(listed, "import lpcam.report.sights")}
    assert "lpcam/report/sights.py:" in found["scipy"]
    assert "torchvision" in found
    assert "timm" not in found


def test_what_is_only_looked_for_is_not_imported():
    assert not imported("from importlib.util import find_spec; find_spec('scipy')")
