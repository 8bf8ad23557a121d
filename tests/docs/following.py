"""Follow a page as a reader does: every block of it, in its order, in one folder.

Nothing of a page is changed but what cannot be had offline: networks of `STAND_INS` are tiny, ImageNet's weights are
random, and where an optional package is missing its option is left out. Programs that are not lpcam's are run as far as
they can be, see `Follower`; what stays unrun is listed in `UNRUN`, with the reason.
"""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lpcam_cli.main import main

from benchmarks.blocks import SHELL, Block, blocks

ROOT = Path(__file__).parents[2]
STAND_INS = {
    **dict.fromkeys(("resnet50", "resnet38d", "mctformer", "torchvision/resnet50"), "demo"),
    "timm/vit_small_patch14_dinov2.lvd142m": "timm/test_vit.r160_in1k",
    "timm/vit_base_patch16_clip_224.openai": "timm/test_vit.r160_in1k",
}
NEEDS = {"--crf": "pydensecrf"}
"""Options that are left out where a package is missing."""
UNRUN = {
    r"\. \.venv/bin/activate": "these tests run in the environment already",
    r"make setup": "fills that environment",
    r"make demo": "tests/test_demo.py runs it, small",
    r"make test": "would run this test again",
    r"pip install .*": "needs a network; that the extra exists is checked",
    r"ray start .*": "starts the services of a cluster; the command that uses it runs on a local one",
}
SHOWN = ("text", "json", "csv", "diff")
"""Languages that nobody runs; with a title they are the content of a file."""
_ORDINARY = {"ls", "cat", "head", "mkdir", "cp", "sh"}
_PROGRAM = re.compile(r"^(\$ )?(lpcam|python|pip|make|sh|sbatch|srun|torchrun|ray|git|cd) (?=\S)", re.MULTILINE)


_OUTPUT = re.compile(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", re.DOTALL)
"""What a benchmark wrote into a page: outputs of commands, not commands."""


class Follower:
    """Does what a page says.

    Args:
        page: The page, for messages.
        folder: Where the reader is; blocks may leave files in it.
        monkeypatch: Takes back what blocks change of the process.
        names: What the Python blocks find, and leave for the next ones.
        stand_ins: Architectures and what takes their place.
    """

    def __init__(
        self,
        page: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        names: dict[str, Any],
        stand_ins: Mapping[str, str] = STAND_INS,
    ) -> None:
        self.page, self.folder, self.names, self.stand_ins = page, folder, names, stand_ins
        self.monkeypatch = monkeypatch
        self.ran = 0
        monkeypatch.chdir(folder)

    def follow(self) -> None:
        """Do all blocks of the page."""
        text = _OUTPUT.sub(lambda output: "\n" * output[0].count("\n"), self.page.read_text(encoding="utf-8"))
        for block in blocks(text):
            self._do(block)

    def _do(self, block: Block) -> None:
        where = f"{self.page.name}:{block.line}"
        if block.title:
            (self.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), self.names)  # noqa: S102
            self.ran += 1
        elif block.language in SHELL:
            for command in block.commands:
                self.run(command, where)
        else:
            assert block.language in SHOWN, f"{where}: nothing runs a block of '{block.language}'"
            assert not _PROGRAM.search(block.text), f"{where}: commands are shown as {block.language}, which is not run"

    def run(self, command: str, where: str) -> None:
        """Run one command of a shell block."""
        if any(re.fullmatch(pattern, command) for pattern in UNRUN):
            _check_unrun(command)
            return
        self.ran += 1
        program, *words = shlex.split(command)
        programs: dict[str, Callable[[list[str], str], None]] = {
            "lpcam": self._lpcam,
            "python": self._python,
            "sbatch": self._sbatch,
            "torchrun": self._torchrun,
            "cd": self._cd,
            **dict.fromkeys(_ORDINARY, lambda _words, where: self._ordinary(command, where)),
        }
        assert program in programs, f"{where}: nothing runs '{program}': let tests/docs/following.py do it"
        programs[program](words, where)

    def _lpcam(self, words: list[str], where: str) -> None:
        result = CliRunner().invoke(main, self._possible(words))
        assert result.exit_code == 0, f"{where}: lpcam {' '.join(words)}\n{result.output}\n{result.exception!r}"

    def _possible(self, words: list[str]) -> list[str]:
        missing = {option for option, package in NEEDS.items() if option in words and find_spec(package) is None}
        words = [word for word in words if word not in missing]
        for index, word in enumerate(words[1:]):
            if words[index] == "--arch":
                words[index + 1] = self.stand_ins.get(word, word)
        return words

    def _python(self, words: list[str], where: str) -> None:
        if words[0] == "-m":
            module = import_module(words[1])
            assert module.REPOSITORY.main(words[2:]) == 0, where
        else:
            self.monkeypatch.setattr(sys, "argv", words)
            runpy.run_path(words[0], run_name="__main__")

    def _sbatch(self, words: list[str], where: str) -> None:
        """Do every task of an array."""
        script = (self.folder / words[-1]).read_text(encoding="utf-8")
        tasks = int(re.search(r"--array=0-(\d+)", script)[1]) + 1
        for task in range(tasks):
            self._as({"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": tasks}, Block("sh", "", script, 1), where)

    def _torchrun(self, words: list[str], where: str) -> None:
        """Do every rank's part."""
        ranks, start = int(words[words.index("--nproc-per-node") + 1]), words.index("--no-python") + 1
        command = Block("sh", "", shlex.join(words[start:]), 1)
        for rank in range(ranks):
            self._as({"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank}, command, where)

    def _as(self, environment: Mapping[str, int], block: Block, where: str) -> None:
        with self.monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, str(value))
            for command in block.commands:
                self.run(command, where)

    def _cd(self, words: list[str], where: str) -> None:
        self.monkeypatch.chdir(words[0])

    def _ordinary(self, command: str, where: str) -> None:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{where}: {command}\n{done.stderr}"


def _check_unrun(command: str) -> None:
    """Hold a command that is not run against the files it speaks of."""
    program, *words = shlex.split(command)
    if program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), command
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        named = re.findall(r"\[([\w,]+)\]", command)
        assert all(extra in extras for group in named for extra in group.split(",")), command
