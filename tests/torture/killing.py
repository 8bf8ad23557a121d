"""Kill a run at random instants, run it again, and compare every byte with a run that was left alone.

``python -m tests.torture.killing --kills 50`` (``make torture``) does it at length, `test_killed.py` in short. A run is
the commands in `STAGES`, one after the other, in a forked child; each kill is a SIGKILL in a fresh workspace, at an
instant drawn from its own slice of the time that the undisturbed run took, so that all stages are hit.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import click
from click.testing import CliRunner
from lpcam_cli.main import main as command

from lpcam.backbones.demo import build
from lpcam.datasets.demo import write_demo
from lpcam.sources import DataSource
from lpcam.training.checkpoint import save_classifier
from lpcam.training.demo import DemoRecipe, train_demo_classifier
from tests.torture.apart import apart

STAGES = (
    "extract-features -w {w} --dataset demo --root {root}/data --arch demo --weights {root}/net.pth --scales 1,.5"
    " --shard-size 3 --device cpu",
    "cluster -w {w} --k 3",
    "cluster -w {w} --method pacam",
    "cluster -w {w} --method fisher",
    "generate -w {w} --method cam,lpcam,pacam,fisher --device cpu",
    "generate -w {w} --method lpcam --propagate --pamr --out {w}/walked --device cpu",
    "generate -w {w} --method lpcam --refiner psa --device cpu",
    "convert --from {w}/seeds/lpcam/irn --from-refiner irn --to {w}/converted --to-refiner sipe",
    "evaluate -w {w} --method cam",
    "evaluate -w {w} --method lpcam",
    "report -w {w}",
)
"""Each is run again from the start after a kill, as a user would."""


@dataclass(frozen=True)
class Trial:
    """One kill.

    Attributes:
        instant: Seconds after the start.
        stage: Number of stages that had ended; their count where the run was over before.
        differing: Files that are not those of the undisturbed run, by name.
        failed: What the second run printed where it did not end well.
    """

    instant: float
    stage: int
    differing: tuple[str, ...]
    failed: str


def prepare(root: Path, photos: int = 9) -> None:
    """Write a small data set and a classifier that has seen it twice.

    In a process that a server forks: torch refuses gradients in the fork of a process that has computed some beside a
    GPU, be it `tests.fake_gpu`.

    Raises:
        RuntimeError: it fails.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch"])  # as lpcam.engines does: a process has one server
    apart(context, _paint_and_train, root, photos)


def _paint_and_train(root: Path, photos: int) -> None:
    """Paint photos and train the classifier."""
    write_demo(root / "data", seed=0, train=photos, val=1)
    split = DataSource("demo", root / "data", "train").open()
    state = train_demo_classifier(build("demo"), split, recipe=DemoRecipe(epochs=2), seed=0, device="cpu")
    save_classifier(root / "net.pth", state)


def undisturbed(root: Path) -> tuple[float, dict[str, str]]:
    """Run all stages once; return the seconds and the fingerprint of every file.

    Raises:
        RuntimeError: the run fails.
    """
    workspace = fresh(root)
    started = time.monotonic()
    if (said := end(start(root, workspace), workspace)) != "":
        raise RuntimeError(said)
    return time.monotonic() - started, files_of(workspace)


def trials(root: Path, kills: int, seconds: float, expected: dict[str, str], seed: int = 0) -> Iterator[Trial]:
    """Yield what became of each kill."""
    random_instants = random.Random(seed)
    for index in range(kills):
        instant = seconds * (index + random_instants.random()) / kills
        yield _trial(root, instant, expected)


def files_of(workspace: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, by its path in the workspace; locks and the log of stages are no results."""
    found = {}
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace).as_posix()
        if path.is_file() and not name.endswith(".lock") and name != _LOG:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differing(found: dict[str, str], expected: dict[str, str]) -> tuple[str, ...]:
    """Return the names of the files that two workspaces do not share, as `files_of` tells them."""
    return tuple(sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)))


_LOG = "stages.log"


def fresh(root: Path) -> Path:
    """Return an empty workspace, always in the same place: some files name it."""
    shutil.rmtree(root / "run", ignore_errors=True)
    return root / "run"


def _trial(root: Path, instant: float, expected: dict[str, str]) -> Trial:
    workspace = fresh(root)
    child = start(root, workspace)
    time.sleep(instant)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    log = workspace / _LOG
    stage = len(log.read_text().splitlines()) if log.is_file() else 0
    failed = end(start(root, workspace), workspace)
    others = differing(files_of(workspace), expected)
    if failed or others:
        shutil.copytree(workspace, root / f"after-{instant:.3f}", dirs_exist_ok=True)
    return Trial(instant, stage, others, failed)


def start(root: Path, workspace: Path) -> int:
    """Fork a child that runs all stages; what goes wrong stands in ``error.txt`` beside the workspace."""
    workspace.mkdir(exist_ok=True)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _run(root, workspace)
    except BaseException:
        _error(workspace).write_text(traceback.format_exc())
        raise
    finally:
        os._exit(code)


def _run(root: Path, workspace: Path) -> int:
    (workspace / _LOG).unlink(missing_ok=True)
    for stage in STAGES:
        arguments = shlex.split(stage.format(w=workspace, root=root))
        result = CliRunner().invoke(command, arguments)
        if result.exit_code:
            text = f"{stage.split()[0]} ended with {result.exit_code}: {result.output[-500:]} {result.exception!r}"
            _error(workspace).write_text(text)
            return 1
        with (workspace / _LOG).open("a") as log:
            log.write(stage.split()[0] + "\n")
    return 0


def end(child: int, workspace: Path) -> str:
    """Wait for a child and return what went wrong."""
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        return ""
    error = _error(workspace)
    return error.read_text() if error.is_file() else f"the run ended with status {status}"


def _error(workspace: Path) -> Path:
    return workspace.with_suffix(".error.txt")


def main(argv: list[str] | None = None) -> int:
    """Be the command line; return 1 where a kill left a trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="lpcam-torture-"))
    prepare(root)
    seconds, expected = undisturbed(root)
    click.echo(f"{len(expected)} files in {seconds:.1f} s undisturbed: {root}")
    equal = 0
    for index, trial in enumerate(trials(root, options.kills, seconds, expected, options.seed)):
        good = not (trial.differing or trial.failed)
        equal += good
        found = "equal" if good else f"{trial.failed or ', '.join(trial.differing[:5])}"
        name = STAGES[trial.stage].split()[0] if trial.stage < len(STAGES) else "the end"
        click.echo(f"{index + 1}: killed after {trial.instant:.2f} s, in {trial.stage + 1} ({name}): {found}")
    click.echo(f"{equal} of {options.kills} equal")
    if equal == options.kills:
        shutil.rmtree(root)
    return int(equal != options.kills)


if __name__ == "__main__":
    sys.exit(main())
