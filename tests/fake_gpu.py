"""A GPU that is not there: torch's fake tensors say which calls would make the host wait for it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_COPIES = {"to", "_to_copy", "copy_"}
_WAITS = {"_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique2", "bincount"}


@contextmanager
def fake_gpu() -> Iterator[list[str]]:
    """Let tensors be made on a device 'cuda' that holds no values; yield the calls that would wait for it."""
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, _Watched(fake) as watched:
        yield watched.found


class _Watched(TorchDispatchMode):
    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        args = tree_map_only(torch.Tensor, self._faked, args)
        name = func.overloadpacket.__name__
        if name in _WAITS and any(isinstance(entry, torch.Tensor) and entry.is_cuda for entry in args):
            self._note(name)
        out = func(*args, **kwargs)
        if name in _COPIES and self._waits(args, kwargs, out):
            self._note(name)
        if name == "index" and any(index is not None and not index.is_cuda for index in args[1]) and args[0].is_cuda:
            self._note("index by numbers of the host")
        return out

    def _faked(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    @staticmethod
    def _waits(args: Any, kwargs: Any, out: Any) -> bool:
        others = [entry.device.type for entry in args if isinstance(entry, torch.Tensor)]
        blocking = not kwargs.get("non_blocking", False) and not any(entry is True for entry in args[1:])
        return blocking and any(kind != out.device.type for kind in others)

    def _note(self, what: str) -> None:
        ours = [frame for frame in traceback.extract_stack() if f"{Path('lpcam')}/" in frame.filename]
        where = f"{Path(ours[-1].filename).name}: {ours[-1].line}" if ours else "?"
        self.found.append(f"{what} in {where}")
