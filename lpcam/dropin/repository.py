"""A repository with a drop-in: its arguments, its ``run(args)`` and its command line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lpcam.dropin.arguments import Argument, Bag
from lpcam.dropin.knobs import Knobs, in_their_words
from lpcam.errors import LpcamError

if TYPE_CHECKING:
    from lpcam.dropin.seeding import Order, SeedingReport

SECONDS_BETWEEN_LINES = 10.0
SOME_IMAGES_FAILED = 3
_SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Repository:
    """A repository, as its users write to it.

    Attributes:
        name: Of the module in `lpcam.dropin`.
        title: As a person reads it.
        replaces: The line, or the command, that is replaced.
        by: What replaces it.
        arguments: Those that are read.
        unneeded: Arguments of the replaced script that lpcam has no use for.
        refiner: Family of seeds its next step reads.
        order: Makes of a bag what is to be done.
        writes: Where the seeds lie, in the repository's words.
        flags: Arguments of its next steps that fit LPCAM's maps; where they are not known, the family's settings are
            shown in words.
    """

    name: str
    title: str
    replaces: str
    by: str
    arguments: tuple[Argument, ...]
    unneeded: tuple[str, ...]
    refiner: str
    order: Callable[[Bag], Order]
    writes: str
    flags: str = ""

    def run(self, args: object) -> SeedingReport:
        """Write the seeds that the repository's arguments ask for; what an earlier call completed is kept.

        Args:
            args: The repository's own bag of arguments, which is only read.

        Raises:
            LpcamError: something is missing or does not fit; it names the repository's arguments, or the variable to
                set.
        """
        from lpcam.dropin.seeding import make_seeds

        lines = Lines()
        try:
            knobs = Knobs.read(args)
            order = self.order(Bag(args, self.arguments))
            lines.say(f"LPCAM for {self.title}: seeds of {order.photos} to {order.out}")
            report = make_seeds(order, knobs, lines.progress)
        except LpcamError as error:
            raise LpcamError(in_their_words(str(error))) from error
        self._say_what_was_done(report, knobs, lines)
        return report

    @property
    def next_step(self) -> str:
        """What to set in the repository's next steps for LPCAM's maps."""
        from lpcam.refiners import get_refiner
        from lpcam.refiners.next_step import Origin

        step = get_refiner(self.refiner).next_step(Origin())
        return self.flags or ("; ".join(step.settings) if step else "")

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run as a command that takes the arguments of the replaced script.

        Returns:
            0 done, 1 an error the user can fix, 3 some photos failed; argparse exits with 2.
        """
        args, rest = self._parser().parse_known_args(argv)
        lines = Lines()
        unneeded = [word for word in rest if word.startswith("--")]
        if unneeded:
            lines.say(f"not needed here: {' '.join(unneeded)}")
        try:
            report = self.run(args)
        except LpcamError as error:
            lines.write(f"Error: {' '.join(str(error).split())}")
            return 1
        except KeyboardInterrupt:
            lines.write("Error: interrupted: run the same command again to continue")
            return 1
        return SOME_IMAGES_FAILED if report.generated.failures else 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=f"python -m lpcam.dropin.{self.name}",
            description=f"{self.title}: writes LPCAM seeds in place of '{self.replaces}'.",
            epilog="Options of lpcam itself are environment variables, see docs/dropin.md.",
            allow_abbrev=False,
        )
        for argument in self.arguments:
            if argument.switch:
                parser.add_argument(f"--{argument.name}", help=argument.meaning, action="store_true")
                continue
            parser.add_argument(
                f"--{argument.name}",
                help=argument.meaning,
                type=argument.kind,
                required=argument.needed,
                nargs="+" if argument.many else None,
            )
        return parser

    def _say_what_was_done(self, report: SeedingReport, knobs: Knobs, lines: Lines) -> None:
        done = report.generated
        notices = (*report.extracted.notices, *report.clustered.notices, *done.notices)
        for notice in dict.fromkeys(notices):
            lines.say(f"note: {in_their_words(notice)}")
        for failure in done.failures[:_SHOWN_FAILURES]:
            lines.say(f"failed: {failure.name}: {failure.reason}")
        if len(done.failures) > _SHOWN_FAILURES:
            lines.say(f"… and {len(done.failures) - _SHOWN_FAILURES} more, in {report.workspace}/failures.jsonl")
        kept = f", {done.skipped} were there already" if done.skipped else ""
        lines.say(
            f"seeds of {done.images} photos{kept}: {report.out} ({report.arch}; features and prototypes: "
            f"{report.workspace})"
        )
        if knobs.method in (None, "lpcam"):
            lines.say(f"next: {self.next_step}")


class Lines:
    """Plain lines on stderr, which is where the repositories' own progress goes."""

    def __init__(self) -> None:
        self._last = -SECONDS_BETWEEN_LINES
        self._stage = ""

    def say(self, line: str) -> None:
        """Write a line."""
        self.write(f"lpcam: {line}")

    def write(self, line: str) -> None:
        """Write a line as it is."""
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage is: at its start, at its end, and every ten seconds between."""
        now = time.monotonic()
        if stage != self._stage or done == total or now - self._last >= SECONDS_BETWEEN_LINES:
            self.say(f"{stage}: {done} of {total}")
            self._stage, self._last = stage, now
