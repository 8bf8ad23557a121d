"""Vectors for Lloyd's algorithm wherever they are: one tensor, or blocks streamed to a device.

One read of the data is cut into blocks of fixed size. A block's tally is the same bytes whoever computes it, and
tallies are added in float64 in the order of the blocks, so the result depends neither on the number of threads nor
on which block is finished first.

On a CPU the threads share out the blocks, and each works its block off in tiles that stay in its cache: a tile is
read from memory once, for the products that assign it and for the sums it is added to. Matrix products that are
split over threads cost more than they save at K centres, so within a block one thread works alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

BLOCK_ROWS = 2048
CUDA_BLOCK_ROWS = 16384  # fewer, larger kernels
TILE_BYTES = 4 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Tally:
    """What one read of some vectors x_i says about K directions ĉ, with a(i) = argmax_j x_i · ĉ_j.

    Attributes:
        sums: float64 [K, C], Σ x_i over a(i) = k.
        counts: int64 [K], vectors with a(i) = k.
        objective: float64 [], Σ_i x_i · ĉ_a(i).
        worst_cosine: float32 [], lowest x_i · ĉ_a(i) / ‖x_i‖; infinite without vectors.
        worst_row: int64 [], where it is.
        labels: int64 [rows], a(i), −1 for a vector without a direction; empty unless asked for.
        unit_sums: float64 [K, C], Σ x_i / ‖x_i‖ over a(i) = k; empty unless asked for.
    """

    sums: Tensor
    counts: Tensor
    objective: Tensor
    worst_cosine: Tensor
    worst_row: Tensor
    labels: Tensor
    unit_sums: Tensor

    def to(self, device: torch.device) -> Tally:
        """Return it on another device."""
        return Tally(**{name: tensor.to(device) for name, tensor in vars(self).items()})


class VectorSource(Protocol):
    """Vectors that Lloyd's algorithm can run over.

    Attributes:
        channels: C.
        usable: bool [M], on the CPU: which rows have a direction, that is a norm that is finite and not zero.
        device: Where tallies are and directions are wanted.
    """

    channels: int
    usable: Tensor
    device: torch.device

    def take(self, rows: Sequence[int]) -> Tensor:
        """Return some rows: float32 [len(rows), C] on `device`."""
        ...

    def tallies(self, directions: Tensor, *, final: bool = False) -> Iterator[Tally]:
        """Read every vector once.

        Args:
            directions: float32 [K, C], unit vectors.
            final: Also give labels and unit sums.

        Returns:
            Tallies of the blocks in the order of the rows, or their sum; nothing waits for the device.
        """
        ...


class Blocks:
    """Rows that are read block by block: views of a tensor, or host memory streamed to a device.

    Args:
        load: ``load(first, last)`` returns float32 [last − first, C]; called from threads, and once for every block
            in every read.
        rows: M.
        channels: C.
        device: Where the work is done. A block that is elsewhere is copied there through pinned memory, while the
            block before it is worked on; no more than three are there at a time.
        block_rows: Rows of a block; by default what suits the device.
    """

    def __init__(
        self,
        load: Callable[[int, int], Tensor],
        rows: int,
        channels: int,
        device: torch.device | str,
        *,
        block_rows: int | None = None,
    ) -> None:
        self.channels = channels
        self.device = torch.device(device)
        self._load = load
        step = block_rows or block_rows_on(self.device)
        self._streamed = self.device.type != "cpu" and rows > 0 and load(0, 1).device.type == "cpu"
        self._ranges = [(first, min(first + step, rows)) for first in range(0, rows, step)]
        self._norms = list(self._map(self._norm, range(len(self._ranges))))
        usable = [(norms.isfinite() & (norms > 0)).cpu() for norms in self._norms]
        self.usable = torch.cat(usable) if usable else torch.ones(0, dtype=torch.bool)
        self._kept = [None if bool(mask.all()) else mask.nonzero()[:, 0].to(self.device) for mask in usable]

    def take(self, rows: Sequence[int]) -> Tensor:
        """Return some rows: float32 [len(rows), C] on the device."""
        return torch.cat([self._load(row, row + 1).to(self.device) for row in rows])

    def tallies(self, directions: Tensor, *, final: bool = False) -> Iterator[Tally]:
        """Read every vector once, see `VectorSource.tallies`."""
        directions = directions.to(self.device)
        return self._map(lambda index, rows: self._tally(index, rows, directions, final), range(len(self._ranges)))

    def _tally(self, index: int, rows: Tensor, directions: Tensor, final: bool) -> Tally:
        first, last = self._ranges[index]
        norms, kept = self._norms[index], self._kept[index]
        if kept is None:
            return tally(rows, norms, directions, first=first, final=final)
        found = tally(rows[kept], norms[kept], directions, first=0, final=final)
        labels = torch.full((last - first,), -1, device=self.device)
        labels[kept] = found.labels if final else 0
        row = first + kept[found.worst_row] if len(kept) else found.worst_row
        return replace(found, worst_row=row, labels=labels if final else found.labels)

    def _norm(self, index: int, rows: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
        return norms

    def _map(self, work: Callable[[int, Tensor], Result], indices: Sequence[int]) -> Iterator[Result]:
        """Return ``work(index, block)`` of every block, in order: shared by threads on a CPU, in a row elsewhere."""
        if self.device.type == "cpu":
            return _shared_out(lambda index: work(index, self._load(*self._ranges[index])), indices)
        if self._streamed:
            return map(work, indices, _read_ahead(self._upload, indices))
        return (work(index, self._load(*self._ranges[index])) for index in indices)

    def _upload(self, index: int) -> Tensor:
        """Copy a block to the device; called from the reader's thread, which alone waits for the copy."""
        computing = torch.cuda.current_stream(self.device)  # the default one in every thread that has set no other
        copying = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(copying):
            rows = self._load(*self._ranges[index]).pin_memory().to(self.device, non_blocking=True)
        copying.synchronize()
        rows.record_stream(computing)  # its memory is not given to a later copy before it has been worked on
        return rows


def resident(vectors: Tensor, *, block_rows: int | None = None) -> Blocks:
    """Return a tensor as a source: read in place, on its device.

    Args:
        vectors: float32 [M, C].
        block_rows: Rows of a block; by default what suits the device.
    """
    load, (rows, channels) = _slices(vectors), vectors.shape
    return Blocks(load, rows, channels, vectors.device, block_rows=block_rows)


def placed(vectors: Tensor, device: torch.device | str, *, budget: int, block_rows: int | None = None) -> Blocks:
    """Return vectors in host memory as a source on a device.

    Args:
        vectors: float32 [M, C].
        device: Where the work is done.
        budget: Bytes the vectors may take there; more are streamed to it in every read.
        block_rows: Rows of a block; by default what suits the device.
    """
    if vectors.numel() * vectors.element_size() <= budget:
        return resident(vectors.to(device), block_rows=block_rows)
    load, (rows, channels) = _slices(vectors), vectors.shape
    return Blocks(load, rows, channels, device, block_rows=block_rows)


def block_rows_on(device: torch.device | str) -> int:
    """Return the rows of a block on a device, where nobody says otherwise."""
    return BLOCK_ROWS if torch.device(device).type == "cpu" else CUDA_BLOCK_ROWS


def tally(rows: Tensor, norms: Tensor, directions: Tensor, *, first: int, final: bool) -> Tally:
    """Return the tally of one block.

    Args:
        rows: float32 [m, C], each with a direction.
        norms: float32 [m], theirs.
        directions: float32 [K, C].
        first: Number of the first row.
        final: Also give labels and unit sums.
    """
    sums = torch.zeros(directions.shape, dtype=torch.float64, device=rows.device)
    unit_sums = torch.zeros_like(sums[: len(sums) if final else 0])
    fits = torch.empty_like(norms)
    labels = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    size = _tile_rows(rows)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        torch.max(directions @ rows[part].T, dim=0, out=(fits[part], labels[part]))
        sums += _cluster_sums(rows[part], labels[part], len(directions))
        if final:
            unit_sums += _cluster_sums(rows[part] / norms[part, None], labels[part], len(directions))
    cosine, row = (fits / norms).min(dim=0) if len(rows) else (fits.new_tensor(float("inf")), labels.new_tensor(0))
    return Tally(
        sums=sums,
        counts=torch.zeros(len(directions), dtype=torch.int64, device=rows.device).index_add_(
            0, labels, torch.ones_like(labels)
        ),
        objective=fits.double().sum(),
        worst_cosine=cosine,
        worst_row=row + first,
        labels=labels if final else labels[:0],
        unit_sums=unit_sums,
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies, added in their order; labels one after another. At least one."""
    entries = iter(tallies)
    result = next(entries)
    sums, unit_sums = result.sums.clone(), result.unit_sums.clone()
    counts, objective = result.counts.clone(), result.objective.clone()
    cosines, rows, labels = [result.worst_cosine], [result.worst_row], [result.labels]
    for entry in entries:
        sums += entry.sums
        unit_sums += entry.unit_sums
        counts += entry.counts
        objective += entry.objective
        cosines.append(entry.worst_cosine)
        rows.append(entry.worst_row)
        labels.append(entry.labels)
    worst_cosine, worst = torch.stack(cosines).min(dim=0)
    return Tally(sums, counts, objective, worst_cosine, torch.stack(rows)[worst], torch.cat(labels), unit_sums)


def _slices(vectors: Tensor) -> Callable[[int, int], Tensor]:
    return lambda first, last: vectors[first:last]


def _tile_rows(rows: Tensor) -> int:
    if rows.device.type != "cpu":
        return max(1, len(rows))
    return max(1, TILE_BYTES // (4 * max(1, rows.shape[1])))


def _cluster_sums(rows: Tensor, labels: Tensor, k: int) -> Tensor:
    """float32 [K, C]: sum of the rows of every label."""
    if rows.device.type == "cpu":
        return rows.new_zeros(k, rows.shape[1]).index_add_(0, labels, rows)
    members = labels == torch.arange(k, device=labels.device)[:, None]
    return members.to(rows.dtype) @ rows  # index_add_ on CUDA adds in any order


def _read_ahead(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield ``read(item)`` in the order of the items; a thread reads the next while one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, item) for item in items[:1]]
        for index in range(len(items)):
            current = ahead.pop().result()
            ahead += [reader.submit(read, item) for item in items[index + 1 : index + 2]]
            yield current


def _shared_out(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield ``work(item)`` in the order of the items; as many threads as torch has, each alone in its items."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(work, items)
    elif len(items) == 1:  # a small class is done before a pool has started
        yield _alone(work, items[0])
    elif items:
        try:
            with ThreadPoolExecutor(min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield from pool.map(work, items)
        finally:
            torch.set_num_threads(threads)


def _alone(work: Callable[[Item], Result], item: Item) -> Result:
    """Return ``work(item)``, done by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work(item)
    finally:
        torch.set_num_threads(threads)
