"""What a training leaves for a person to look at: a line a step (JSON), and a picture of the losses and scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpcam.errors import LpcamError
from lpcam.files import write_atomically

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe & Ito's, told apart by every kind of eye


class TrainingLog:
    """A file of JSON lines, one a step.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def cut(self, step: int) -> None:
        """Keep the lines of the first ``step`` steps and remove what was written after them.

        Raises:
            LpcamError: the file cannot be written.
        """
        if self._path.exists():
            text = "".join(f"{line}\n" for line in self._lines() if _step_of(line) <= step)
            write_atomically(self._path, lambda partial: _write_text(partial, text))

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; who follows the file sees it at once.

        Raises:
            LpcamError: the file cannot be written.
        """
        text = json.dumps(line, allow_nan=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise LpcamError(f"cannot write {self._path} ({error.strerror}): free space, then run again") from error

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []


def plot(
    path: Path, losses: NDArray[np.float64], scores: NDArray[np.float64], names: Sequence[str], steps_per_epoch: int
) -> None:
    """Draw the losses of every step, smoothed, and the validation scores of every epoch; nothing without matplotlib.

    Args:
        path: A PNG.
        losses: [T, L], a row a step.
        scores: [E, 2], mAP and mIoU in 0..1; NaN where there was none.
        names: Of the losses.
        steps_per_epoch: Steps between two scores.

    Raises:
        LpcamError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:  # a machine that trains may have torch alone; the log has every number
        return

    scored = bool(np.isfinite(scores).any())
    figure = Figure(figsize=(6, 5 if scored else 3), dpi=110, layout="constrained")
    rows = list(figure.subplots(2 if scored else 1, 1, sharex=True, squeeze=False)[:, 0])
    _draw_losses(rows[0], losses, names)
    if scored:
        _draw_scores(rows[1], scores, steps_per_epoch)
    for axes in rows:
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    rows[-1].set_xlabel("step")
    write_atomically(path, lambda partial: figure.savefig(partial, format="png", metadata={"Software": None}))


def smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean of every value and the ``window`` − 1 before it, of fewer at the start.

    >>> smoothed(np.array([4.0, 2.0, 0.0, 0.0]), 2).tolist()
    [4.0, 3.0, 1.0, 0.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _draw_losses(axes: Any, losses: NDArray[np.float64], names: Sequence[str]) -> None:
    steps = np.arange(1, len(losses) + 1)
    for column, name in enumerate(names):
        colour = _COLOURS[column % len(_COLOURS)]
        axes.plot(steps, losses[:, column], color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(steps, smoothed(losses[:, column], max(1, len(losses) // 40)), color=colour, label=name)
    axes.set_ylabel("loss")


def _draw_scores(axes: Any, scores: NDArray[np.float64], steps_per_epoch: int) -> None:
    steps = steps_per_epoch * np.arange(1, len(scores) + 1)
    for column, (name, marker) in enumerate((("mAP", "o"), ("seed mIoU", "s"))):
        if np.isfinite(scores[:, column]).any():
            axes.plot(steps, 100 * scores[:, column], marker=marker, color=_COLOURS[column], label=name)
    axes.set_ylabel("validation, %")


def _step_of(line: str) -> float:
    """Return the step of a line; of one that was cut short, none that is kept."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
