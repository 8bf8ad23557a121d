"""Start the same run twice in one workspace, and compare every byte with a run that was alone.

``python -m tests.torture.racing`` (part of ``make torture``) does it five times, `test_racing.py` once. The second
process starts within half a second of the first; each must end well.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tests.torture.killing import differing, end, files_of, fresh, prepare, start, undisturbed


def races(root: Path, count: int, expected: dict[str, str], processes: int = 2, seed: int = 0) -> Iterator[str]:
    """Yield what is wrong after each race; nothing where both ended well and the bytes are those of one run."""
    instants = random.Random(seed)
    for _ in range(count):
        workspace = fresh(root)
        children = []
        for _ in range(processes):
            children.append(start(root, workspace))
            time.sleep(instants.random() / 2)
        wrong = [said for said in [end(child, workspace) for child in children] if said]
        yield "; ".join([*wrong, *differing(files_of(workspace), expected)])


def main(argv: list[str] | None = None) -> int:
    """Be the command line; return 1 where two runs are not one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=5)
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="lpcam-torture-"))
    prepare(root)
    _, expected = undisturbed(root)
    equal = 0
    for index, wrong in enumerate(races(root, options.races, expected)):
        equal += not wrong
        click.echo(f"race {index + 1}: {wrong or 'equal'}")
    click.echo(f"{equal} of {options.races} races of two equal one run")
    if equal == options.races:
        shutil.rmtree(root)
    return int(equal != options.races)


if __name__ == "__main__":
    sys.exit(main())
