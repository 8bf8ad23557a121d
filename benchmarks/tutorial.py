"""The tutorial followed word by word: every command of docs/tutorial.md in one terminal, with its seconds and output.

The tree's last commit is cloned into a new folder, and the page of that clone is typed into a shell that stands in it,
from ``make setup`` on; the network is needed for that step alone. ``--installed`` leaves the setup out and takes the
lpcam of this Python. Progress goes to stderr as it comes.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.blocks import Block, blocks
from benchmarks.record import ROOT, Check, Findings, conclude, environment, parser
from lpcam.errors import LpcamError

PAGE = "docs/tutorial.md"
_MARK = "@@ step"
_COLUMNS = 118
_OF_SETUP = ("make setup", ". .venv/bin/activate")


@dataclass(frozen=True)
class Settings:
    """How the page is followed.

    Attributes:
        installed: Leave the setup out.
        spoken: Only ask every command for its help.
    """

    installed: bool = False
    spoken: bool = False


def run(settings: Settings, folder: Path) -> Findings:
    """Follow the page.

    Args:
        settings: How.
        folder: An empty one.

    Raises:
        LpcamError: a command did not end well.
    """
    place = folder if settings.installed else _clone(folder)
    page = (ROOT if settings.installed else place) / PAGE
    steps = list(steps_of(page.read_text(encoding="utf-8")))
    if settings.installed:
        steps = [step for step in steps if step not in _OF_SETUP]
    followed = _follow(steps, place, settings)
    seconds = sum(step["seconds"] for step in followed)
    failed = len(steps) - len(followed)
    checks = (Check("commands that did not end well", failed, 0, "at most", equality=True),)
    return Findings({"steps": followed, "seconds": seconds}, checks)


def steps_of(page: str) -> Iterator[str]:
    """Yield what is typed, in the order of the page: a command, or a block of Python handed to Python.

    Args:
        page: Markdown.
    """
    for block in blocks(page):
        if block.is_shell:
            yield from block.commands
        elif block.language == "python":
            yield _python(block)


def _python(block: Block) -> str:
    return f"python - <<'END'\n{block.text}END"


def _clone(folder: Path) -> Path:
    place = folder / "lpcam"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, place], check=True)
    return place


def _follow(steps: Sequence[str], place: Path, settings: Settings) -> list[dict[str, Any]]:
    """Type the steps into one shell, and read the clock whenever it asks for the next."""
    lines = ["set -e", f"export COLUMNS={_COLUMNS}", *(_own_python() if settings.installed else [])]
    for step in steps:
        lines += [f"echo; echo '{_MARK}'", _help_of(step) if settings.spoken else step]
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join([*lines, f"echo; echo '{_MARK}'"])], cwd=place, stdout=subprocess.PIPE, text=True
    )
    followed = list(_timed(steps, shell, f"{place}/"))
    if shell.wait():
        raise LpcamError(f"this step of {PAGE} did not end well: {steps[len(followed)]}")
    return followed


def _timed(steps: Sequence[str], shell: subprocess.Popen[str], here: str) -> Iterator[dict[str, Any]]:
    """Yield every step with its seconds and output; paths in it begin where the shell stands."""
    index, begun, output = -1, time.perf_counter(), ""
    for line in shell.stdout or ():
        if line.rstrip() != _MARK:
            output += f"{line.rstrip()}\n"
            continue
        now = time.perf_counter()
        if index >= 0:
            yield {"command": steps[index], "seconds": now - begun, "output": output.strip("\n").replace(here, "")}
        index, begun, output = index + 1, now, ""


def _own_python() -> list[str]:
    """Return shell functions by which python and lpcam are those of this process."""
    python = shlex.quote(sys.executable)
    return [f'python() {{ {python} "$@"; }}', f'lpcam() {{ {python} -m lpcam_cli "$@"; }}']


def _help_of(step: str) -> str:
    return f"{step} --help" if step.startswith("lpcam ") else "true"


def main(argv: Sequence[str] | None = None) -> None:
    """Follow the tutorial and write what it took."""
    arguments = _arguments(argv)
    settings = Settings(arguments.installed or arguments.dry_run, arguments.dry_run)
    before = environment()
    with tempfile.TemporaryDirectory(prefix="lpcam-tutorial-") as folder:
        conclude("tutorial", before, settings, run(settings, Path(folder)), arguments)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__ or "")
    options.add_argument("--installed", action="store_true", help="leave the setup out; the lpcam of this Python")
    return options.parse_args(argv)


if __name__ == "__main__":
    main()
