"""The processes that train one network together: this one alone, or those that torchrun started.

Every process takes its part of every batch and its share of the validation photos; gradients and losses are averaged,
so that the result is that of one process to rounding. The first process alone writes files.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from lpcam.engines import Placement, Share
from lpcam.engines.mapping import own_device
from lpcam.errors import LpcamError
from lpcam.forward import resolve_device

Item = TypeVar("Item")

_PARAMETERS = inspect.signature(DistributedDataParallel).parameters
_KEEPS_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _PARAMETERS else "broadcast_buffers"


def share_of_torchrun(environment: Mapping[str, str] = os.environ) -> Share:
    """Return which of torchrun's processes this is; without torchrun the only one.

    >>> share_of_torchrun({"RANK": "1", "WORLD_SIZE": "2"})
    Share(index=1, count=2)
    >>> share_of_torchrun({})
    Share(index=0, count=1)
    """
    if not {"RANK", "WORLD_SIZE"} <= set(environment):
        return Share()
    return Share(int(environment["RANK"]), int(environment["WORLD_SIZE"]))


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; the default is alone.

    Attributes:
        share: Which it is, of how many.
    """

    share: Share = Share()

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.share.index == 0

    def part_of(self, batch_size: int) -> int:
        """Return how many photos of a batch are this process's.

        Raises:
            LpcamError: the batch cannot be divided equally.
        """
        if batch_size % self.share.count:
            raise LpcamError(
                f"a batch of {batch_size} cannot be divided among {self.share.count} processes: "
                f"give a --batch-size that is a multiple of {self.share.count}"
            )
        return batch_size // self.share.count

    def part(self, batch: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of a batch: the parts in the order of the processes are the batch."""
        size = self.part_of(len(batch))
        return batch[self.share.index * size : (self.share.index + 1) * size]

    def agreed(self, make: Callable[[], Item]) -> Item:
        """Return what ``make`` returned in the first process; the others do not call it."""
        if self.share.is_all:
            return make()
        box = [make() if self.is_first else None]
        distributed.broadcast_object_list(box)
        return cast(Item, box[0])

    def collected(self, value: Item) -> list[Item]:
        """Return the value of every process, in their order."""
        if self.share.is_all:
            return [value]
        values: list[Any] = [None] * self.share.count
        distributed.all_gather_object(values, value)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes of a tensor that has the same shape in all of them."""
        if self.share.is_all:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total / self.share.count

    def gathered(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in their order: [n, …] → [processes · n, …]."""
        if self.share.is_all:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.share.count)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def spread(self, tensor: Tensor) -> None:
        """Overwrite a tensor with that of the first process."""
        if not self.share.is_all:
            distributed.broadcast(tensor, 0)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are averaged over the processes.

        Batch norm that learns its statistics learns those of the whole batch, which torch can do on CUDA only.

        Raises:
            LpcamError: it would learn them on the CPU.
        """
        if self.share.is_all:
            return network
        device = next(network.parameters()).device
        network.train()
        if any(isinstance(module, _BatchNorm) and module.training for module in network.modules()):
            if device.type != "cuda":
                raise LpcamError(
                    "batch norm from scratch needs the whole batch, which several processes share on CUDA only: "
                    "train in one process, or start from --weights"
                )
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        devices = [device.index] if device.type == "cuda" else None
        kept: Any = {_KEEPS_BUFFERS: False}
        return DistributedDataParallel(network, device_ids=devices, find_unused_parameters=True, **kept)


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Join torchrun's processes, if it started this one, and leave them at the end; yield them and the own device.

    A group of torch.distributed that is there already is used and left as it is.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``; under torchrun every process of a machine takes its own GPU.

    Raises:
        LpcamError: the environment names processes, but not where they meet.
    """
    share = share_of_torchrun()
    if share.is_all:
        yield Processes(), resolve_device(device)
        return
    device = own_device(Placement(shard="auto"), device)
    mine = not distributed.is_initialized()
    if mine:
        _meet(device)
    try:
        yield Processes(share), device
    finally:
        if mine:
            distributed.destroy_process_group()


def _meet(device: str) -> None:
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group("nccl" if on_cuda else "gloo")
    except ValueError as error:  # an address is missing in the environment
        raise LpcamError(
            f"RANK and WORLD_SIZE are set, but {error}: start with torchrun, or unset both for one process"
        ) from error
