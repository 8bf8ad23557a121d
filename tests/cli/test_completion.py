"""``lpcam completion``: commands, options and values in a real shell, without importing torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from lpcam_cli import completing
from lpcam_cli.main import main

from lpcam import engines, kmeans, precision, runtime
from lpcam.backbones.loading import known_architectures
from lpcam.corridor import METHODS
from lpcam.datasets import KINDS
from lpcam.export import _FORMATS
from lpcam.methods.attention import GUIDES
from lpcam.methods.pacam import METRICS
from lpcam.propagation import EDGES
from lpcam.store import DTYPES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def program(tmp_path) -> Path:
    """A folder with a program called lpcam that runs this tree, and refuses to import torch."""
    path = tmp_path / "bin/lpcam"
    path.parent.mkdir()
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv[0] = 'lpcam'; "
        f"sys.path.insert(0, {str(ROOT)!r}); from lpcam_cli.main import main; main()"
    )
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    path.chmod(0o755)
    return path.parent


def in_bash(program: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in ("lpcam", *words))
    script = (
        f'export PATH="{program}:$PATH"; source <(lpcam completion bash); COMP_WORDS=({line}); '
        f'COMP_CWORD={len(words)}; _lpcam_completion lpcam; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return found.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ex"], {"extract-features", "export"}),
        (["generate", "--prop"], None),
        (["generate", "--method", "cam,i"], {"cam,iscam"}),
        (["generate", "--refiner", "s"], {"seam", "sipe"}),
        (["extract-features", "--arch", "res"], {"resnet50", "resnet38d"}),
        (["extract-features", "--dataset", ""], set(KINDS)),
        (["cluster", "--profile", "c"], {"coco"}),
        (["train", "s"], {"sipe"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes_commands_options_and_values(program, words, offered):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    found = in_bash(program, *words)
    assert set(found) == offered if offered else {"--propagate", "--propagate-steps"} <= set(found)


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_script_is_one_of_its_shell(shell, check):
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert f"_LPCAM_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, check], input=script, text=True, check=True)


def test_an_unknown_shell_is_a_usage_error():
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "bash" in result.stderr


def test_what_is_offered_is_what_the_library_knows():
    assert set(completing.METHODS) == set(METHODS)
    assert set(completing.DATASETS) == set(KINDS)
    assert set(completing.DTYPES) == set(DTYPES)
    assert set(completing.FORMATS) == set(_FORMATS)
    for offered, known in (
        (completing.PRECISIONS, precision.PRECISIONS),
        (completing.RUNTIMES, runtime.RUNTIMES),
        (completing.ENGINES, engines.ENGINES),
        (completing.KMEANS, kmeans.ENGINES),
        (completing.EDGES, EDGES),
        (completing.ATTENTIONS, GUIDES),
        (completing.METRICS, METRICS),
    ):
        assert offered == known
    known = known_architectures()
    assert set(completing.OWN_ARCHITECTURES) == {name for name in known if "/" not in name}
    assert set(completing.COMMON) <= set(known)


def test_of_several_values_only_others_are_offered():
    complete = completing.several_of(("cam", "lpcam", "iscam"))
    offered = complete(click.Context(main), click.Option(["--method"]), "cam,")
    assert offered == ["cam,lpcam", "cam,iscam"]
