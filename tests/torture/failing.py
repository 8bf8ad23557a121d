"""Let every write of a run fail once, run it again, and compare every byte with a run that was left alone.

``python -m tests.torture.failing`` (part of ``make torture``) does it at length, `test_failing.py` in short. A write is
an open file for writing, a rename, a new folder, a removed file or a flush to disk, under the workspace, asked for in
Python by whomever. A trial starts one command of `lpcam` in the workspace as the commands before it left it, refuses
the n-th write, and expects one line and exit code 1, or a command that did not need the write.

`fill` is the other way round: a whole run on a disk that is too small, until it is large enough.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from lpcam_cli.main import main as command

from tests.torture.killing import STAGES, differing, files_of, prepare

ERRORS = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE)


@dataclass(frozen=True)
class Fault:
    """One refused write.

    Attributes:
        stage: Index in `STAGES`.
        number: Which write of the stage, from 0.
        code: What the command ended with: 1, or 0 where it could do without the write.
        wrong: What went wrong; empty where it was one line, or nothing, and the second run ended as it should.
    """

    stage: int
    number: int
    code: int
    wrong: str


def snapshots(root: Path) -> list[tuple[Path, int]]:
    """Run all stages; return the workspace before each and after the last, and how many writes each has.

    Raises:
        RuntimeError: a stage fails.
    """
    workspace, kept = root / "run", []
    workspace.mkdir()
    for index, stage in enumerate(STAGES):
        before = root / f"before-{index}"
        shutil.copytree(workspace, before)
        code, said, writes = _child(root, stage, None)
        if code:
            raise RuntimeError(f"{stage}: {said}")
        kept.append((before, writes))
    return [*kept, (workspace.rename(root / "after"), 0)]


def faults(root: Path, kept: list[tuple[Path, int]], each: int) -> Iterator[Fault]:
    """Yield what became of refused writes, at most ``each`` of every stage, evenly drawn."""
    for stage, number in [
        (stage, number)
        for stage, (_, writes) in enumerate(kept)
        for number in sorted({writes * (2 * part + 1) // (2 * min(each, writes)) for part in range(min(each, writes))})
    ]:
        before, after = kept[stage][0], kept[stage + 1][0]
        yield Fault(stage, number, *_trial(root, STAGES[stage], number, before, after))


def _trial(root: Path, stage: str, number: int, before: Path, after: Path) -> tuple[int, str]:
    """Refuse one write of a stage and run it again; return what the first run ended with, and what is wrong."""
    shutil.rmtree(root / "run", ignore_errors=True)
    shutil.copytree(before, root / "run")
    code, said, _ = _child(root, stage, number)
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    if code not in (0, 1) or (code == 1 and len(lines) != 1) or "Traceback" in said:
        return code, f"ended with {code}: {said[-2000:]}"
    again, said, _ = _child(root, stage, None)
    if again:
        return code, f"the second run ended with {again}: {said[-500:]}"
    others = differing(files_of(root / "run"), files_of(after))
    return code, f"other files: {', '.join(others[:5])}" if others else ""


def _child(root: Path, stage: str, refused: int | None) -> tuple[int, str, int]:
    """Run a stage in a forked child; return its exit code, what it said, and its number of writes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = _run(root, stage, refused, writing)
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said, _, writes = said.rpartition("\n")
    return code, said, int(writes or 0)


def _run(root: Path, stage: str, refused: int | None, pipe: int) -> int:
    counter = _Refusing(root / "run", refused)
    sys.addaudithook(counter.hear)
    flush = os.fsync
    os.fsync = lambda descriptor: counter.count("os.fsync") or flush(descriptor)  # type: ignore[assignment]
    result = CliRunner().invoke(command, shlex.split(stage.format(w=root / "run", root=root)))
    counter.refused = None
    bug = result.exception is not None and not isinstance(result.exception, SystemExit)
    said = f"{result.output}\n{'Traceback: ' + repr(result.exception) if bug else ''}\n{counter.writes}"
    os.write(pipe, said.encode()[-60_000:])
    return result.exit_code


class _Refusing:
    """Counts writes under a folder and refuses one of them."""

    def __init__(self, folder: Path, refused: int | None) -> None:
        self._folder, self.refused, self.writes = str(folder), refused, 0

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be told what Python is about to do; an error raised here is what it gets in answer."""
        if event == "open" and isinstance(arguments[1], str) and not set(arguments[1]) & set("wax+"):
            return
        if event == "open" and arguments[1] is None and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        watched = ("open", "os.rename", "os.mkdir", "os.remove", "os.truncate")
        if event in watched and str(arguments[0]).startswith(self._folder):
            self.count(event)

    def count(self, event: str) -> None:
        """Count a write; raise where it is the one."""
        number, self.writes = self.writes, self.writes + 1
        if number == self.refused:
            code = ERRORS[number % len(ERRORS)]
            raise OSError(code, os.strerror(code))


def can_mount() -> bool:
    """Return whether a small file system can be mounted here."""
    folder = Path(tempfile.mkdtemp(prefix="lpcam-mount-"))
    made = _mount(folder, 64)
    if made:
        subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    return made


def fill(root: Path, after: Path, steps: int) -> Iterator[tuple[int, int, str]]:
    """Run all stages on a disk of some of the room they need, then of more, until they end.

    Yields:
        The room in KiB, how many stages ended on it, and what is wrong: neither one line nor, in the end, the bytes
        of a run that was left alone.
    """
    needed = sum(path.stat().st_size for path in after.rglob("*") if path.is_file()) // 1024
    workspace = root / "run"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    room = [needed * (step + 1) // (steps + 1) for step in range(steps)] + [4 * needed + 4096]
    try:
        for step, size in enumerate(room):
            if not _mount(workspace, size, again=step > 0):
                raise RuntimeError(f"cannot mount {size} KiB at {workspace}")
            ended, wrong = _stages(root)
            if step == len(room) - 1 and not wrong:
                wrong = ", ".join(differing(files_of(workspace), files_of(after)))
            yield size, ended, wrong
    finally:
        subprocess.run(["umount", str(workspace)], check=False)


def _stages(root: Path) -> tuple[int, str]:
    """Run stages until one ends with 1; return how many ended well and what is wrong."""
    for index, stage in enumerate(STAGES):
        code, said, _ = _child(root, stage, None)
        if code == 0:
            continue
        one_line = sum(line.startswith("Error: ") for line in said.splitlines()) == 1
        return index, "" if code == 1 and one_line and "Traceback" not in said else said[-1000:]
    return len(STAGES), ""


def _mount(folder: Path, kib: int, *, again: bool = False) -> bool:
    options = f"{'remount,' if again else ''}size={kib}k"
    line = ["mount", "-t", "tmpfs", "-o", options, "lpcam", str(folder)]
    try:
        return subprocess.run(line, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main(argv: list[str] | None = None) -> int:
    """Be the command line; return 1 where a fault did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=10_000, help="try at most so many writes of a stage")
    parser.add_argument("--steps", type=int, default=12, help="sizes of the disk that is too small")
    options = parser.parse_args(argv)
    for module in ("lpcam.corridor", "lpcam.report.whole", "lpcam.propagation", "lpcam.methods.pacam"):
        import_module(module)  # once, and not in every child
    root = Path(tempfile.mkdtemp(prefix="lpcam-torture-"))
    prepare(root)
    kept = snapshots(root)
    click.echo(f"{sum(writes for _, writes in kept)} writes in {len(STAGES)} commands: {root}")
    harm = tried = stopped = 0
    for fault in faults(root, kept, options.each):
        tried += 1
        harm += bool(fault.wrong)
        stopped += fault.code == 1
        if fault.wrong:
            click.echo(f"write {fault.number} of {STAGES[fault.stage].split()[0]} ({fault.stage + 1}): {fault.wrong}")
    click.echo(f"{tried - harm} of {tried} refused writes did no harm; {stopped} ended their command with one line")
    if can_mount():
        for size, ended, wrong in fill(root, kept[-1][0], options.steps):
            harm += bool(wrong)
            click.echo(f"a disk of {size} KiB: {ended} of {len(STAGES)} commands end{f', {wrong}' if wrong else ''}")
    else:
        click.echo("no small disk could be mounted here: a full one was not tried")
    if not harm:
        shutil.rmtree(root)
    return int(harm > 0)


if __name__ == "__main__":
    sys.exit(main())
