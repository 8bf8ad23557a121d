"""Vectors whose parts have several holders, in one process or on several machines.

Every holder reads its part at the same time and keeps the tallies of its blocks. Then the sums go from holder to
holder: each adds its own tallies, in the order of its blocks, to what the parts before it came to. These are the very
additions of one source over all rows, so the bytes are the same; and what travels is one tally a holder, whatever
the number of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lpcam.kmeans.sources import Tally, VectorSource, total


@dataclass(frozen=True)
class Take:
    """Asks for some rows: float32 [len(rows), C].

    Attributes:
        rows: Of the holder's part.
    """

    rows: tuple[int, ...]


@dataclass(frozen=True)
class Read:
    """Asks for one read of the part, whose tallies the holder keeps.

    Attributes:
        directions: float32 [K, C], unit vectors.
        final: Also of labels and unit sums.
    """

    directions: Tensor
    final: bool


@dataclass(frozen=True)
class Add:
    """Asks for the tallies of the last read, added to those of the parts before, and for the part's own labels.

    Attributes:
        before: Of the parts before, without labels; None for the first part.
        first: Number of the part's first row among those of all parts.
    """

    before: Tally | None
    first: int


Question = Take | Read | Add
Ask = Callable[[Mapping[int, Question]], Mapping[int, Any]]
"""``ask({part: question})`` has the holders of these parts answer at the same time."""


class Holder:
    """Has one part and answers for it.

    Args:
        source: The part.
    """

    def __init__(self, source: VectorSource) -> None:
        self._source = source
        self._tallies: list[Tally] = []

    def answer(self, question: Question) -> Tensor | Tally | None:
        """Answer a question; tensors of the answer are on the CPU."""
        if isinstance(question, Take):
            return self._source.take(question.rows).cpu()
        if isinstance(question, Read):
            self._tallies = list(self._source.tallies(question.directions, final=question.final))
            return None
        return self._added(question.before, question.first).to(torch.device("cpu"))

    def _added(self, before: Tally | None, first: int) -> Tally:
        own = [replace(entry, worst_row=entry.worst_row + first) for entry in self._tallies]
        self._tallies = []
        return total(own if before is None else [before.to(self._source.device), *own])


class Joined:
    """Parts one after another, as if they were one source; tallies are on the CPU, one that is the sum of all.

    The result is that of one source over all rows, byte for byte where every part but the last is a whole number of
    blocks, and to rounding otherwise.

    Args:
        usable: bool [rows] of every part, at least one row each: which have a direction.
        channels: C.
        ask: Asks their holders.
    """

    def __init__(self, usable: Sequence[Tensor], channels: int, ask: Ask) -> None:
        self.channels = channels
        self.device = torch.device("cpu")
        self.usable = torch.cat([*usable, torch.ones(0, dtype=torch.bool)])
        self._ask = ask
        self._edges: list[int] = torch.tensor([0, *map(len, usable)]).cumsum(0).tolist()

    def take(self, rows: Sequence[int]) -> Tensor:
        """Return some rows: float32 [len(rows), C]."""
        places = {
            part: [place for place, row in enumerate(rows) if first <= row < last]
            for part, (first, last) in enumerate(pairwise(self._edges))
        }
        questions = {
            part: Take(tuple(rows[place] - self._edges[part] for place in own)) for part, own in places.items() if own
        }
        taken = torch.empty(len(rows), self.channels)
        for part, found in self._ask(questions).items():
            taken[places[part]] = found
        return taken

    def tallies(self, directions: Tensor, *, final: bool = False) -> Iterator[Tally]:
        """Read every vector once, see `VectorSource.tallies`."""
        parts = range(len(self._edges) - 1)
        self._ask({part: Read(directions, final) for part in parts})
        added, labels = None, []
        for part in parts:
            added = self._ask({part: Add(added, self._edges[part])})[part]
            labels.append(added.labels)
            added = replace(added, labels=added.labels.new_empty(0))
        if added is not None:
            yield replace(added, labels=torch.cat(labels))
