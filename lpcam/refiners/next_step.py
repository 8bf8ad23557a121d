"""What a family's repository does next with its seeds: where it looks, which thresholds it needs, and refine.sh.

Arguments are named only where they are known; thresholds stand in words, for whoever runs the repository's command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lpcam.files import write_atomically

SCRIPT = "refine.sh"
_BASELINE = "cam"


@dataclass(frozen=True)
class Origin:
    """What the maps of some seeds are, as far as thresholds depend on it.

    Attributes:
        method: Name of the method that made them.
        dataset: Kind of data set they are of.
        walked: Whether they walked (`lpcam.propagation`), which makes the maps of any method dense.
    """

    method: str = "lpcam"
    dataset: str = "voc"
    walked: bool = False

    @property
    def is_dense(self) -> bool:
        """Whether the maps cover whole objects, as all but CAM's do, so that thresholds made for CAM misjudge them."""
        return self.walked or self.method != _BASELINE


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of an IRN-style repository, in the unit of the maps (0..1).

    Attributes:
        seed: Background of the argmax over the maps; None where it is not known.
        conf_fg: Background of the argmax whose winners are certain objects in an IR label.
        conf_bg: Background of the argmax whose background is certain in an IR label.
        walk: Background after the random walk.
    """

    seed: float | None
    conf_fg: float
    conf_bg: float
    walk: float

    def settings(self) -> tuple[str, ...]:
        """Return one line a threshold."""
        named = (
            ("background of the seed evaluation", self.seed),
            ("IR label, confidence of the foreground", self.conf_fg),
            ("IR label, confidence of the background", self.conf_bg),
            ("background after the random walk", self.walk),
        )
        return tuple(f"{what}: {value:.2f}" for what, value in named if value is not None)


LPCAM_MAPS = Thresholds(0.30, 0.45, 0.25, 0.35)
"""What LPCAM's maps need on VOC and COCO (Chen & Sun, CVPR 2023)."""
IRN_MAPS = Thresholds(0.15, 0.30, 0.05, 0.25)
"""IRN's own, made for CAM."""
_WALKED = "The maps walked and are denser still: the thresholds are those of maps that did not, search them again."


def thresholds_for(origin: Origin, own: Mapping[str, Thresholds]) -> Thresholds:
    """Return LPCAM's thresholds for dense maps, else the family's own for the data set (VOC's where it has none)."""
    return LPCAM_MAPS if origin.is_dense else own.get(origin.dataset, own["voc"])


@dataclass(frozen=True)
class Place:
    """A folder in the repository that must hold the seeds.

    Attributes:
        variable: Of the shell, that holds its parent.
        meaning: Of the variable.
        folder: Its name.
    """

    variable: str
    meaning: str
    folder: str


@dataclass(frozen=True)
class NextStep:
    """How a repository goes on from the seeds.

    Attributes:
        reads: What it reads, in words.
        settings: Thresholds and the like, one line each.
        arguments: Added to its command; ``$SEEDS`` stands for the folder of the seeds.
        place: Where the seeds must lie; None where an argument says it.
        notes: What else to know, one line each.
    """

    reads: str
    settings: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    place: Place | None = None
    notes: tuple[str, ...] = ()


def write_script(folder: Path, title: str, step: NextStep, origin: Origin) -> Path:
    """Write ``refine.sh`` beside the seeds.

    Raises:
        LpcamError: the folder cannot be written to.
    """
    path = folder / SCRIPT
    text = script(title, step, origin)
    write_atomically(path, lambda partial: _write_text(partial, text))
    return path


def script(title: str, step: NextStep, origin: Origin) -> str:
    """Return a shell script that runs a repository's own next command on the seeds beside it."""
    shown = "".join(f"# {line}".rstrip() + "\n" for line in _explanation(title, step, origin))
    lines = ["set -eu", 'if [ $# -eq 0 ]; then sed -n "2,\\$s/^# \\{0,1\\}//p" "$0"; exit 0; fi']
    lines += ['SEEDS=$(CDPATH="" cd -- "$(dirname -- "$0")" && pwd)']
    lines += _linking(step.place) if step.place else []
    lines += [" ".join(['exec "$@"', *(_quoted(argument) for argument in step.arguments)])]
    return f"#!/bin/sh\n{shown}" + "\n".join(lines) + "\n"


def summary(path: Path, title: str, step: NextStep) -> str:
    """Return the next step as one line."""
    return f"sh {path} COMMAND…   ({title}'s own next command; {'; '.join(step.settings)})"


def _explanation(title: str, step: NextStep, origin: Origin) -> list[str]:
    added = " ".join(step.arguments).replace('"', "")
    usage = "  sh refine.sh COMMAND ...   runs the repository's own next command, in its folder"
    return [
        f"The next step of {title} with the seeds beside it (maps of {origin.method}, data set {origin.dataset}).",
        *([_WALKED] if origin.walked else []),
        "",
        usage + (f", and adds {added}" if added else ""),
        "  sh refine.sh               shows this text",
        "",
        f"It reads {step.reads}.",
        *([_place_line(step.place)] if step.place else []),
        "Set in its command or its code:",
        *(f"  {line}" for line in step.settings),
        *step.notes,
    ]


def _place_line(place: Place) -> str:
    return f"They are linked to ${place.variable}/{place.folder}; {place.variable} is {place.meaning}."


def _linking(place: Place) -> list[str]:
    return [
        f'PLACE="${{{place.variable}:?set it to {place.meaning}}}/{place.folder}"',
        'if [ -e "$PLACE" ] && [ ! "$PLACE" -ef "$SEEDS" ]; then',
        '  echo "$PLACE is in the way: move it, or copy the seeds there" >&2; exit 1',
        "fi",
        'if [ ! -e "$PLACE" ]; then mkdir -p "$(dirname -- "$PLACE")"; ln -s "$SEEDS" "$PLACE"; fi',
    ]


def _quoted(argument: str) -> str:
    return f'"{argument}"' if argument.startswith("$") else argument


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
