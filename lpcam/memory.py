"""Memory of this process: what was freed is used again or given back, and what is done when there is none left."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of malloc.h
_SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "bad_alloc")
"""What torch's RuntimeErrors say: of CUDA, of the CPU on Windows and elsewhere, of cuDNN and cuBLAS, of C++."""

_TIMES, _LEAST = 4, 2**28  # what a photo took, before the heap is trimmed; and what it is taken for at the least

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that host or device had no memory left, or was raised because of one that does.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("out of memory"))
    (True, False)
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def unless_exhausted(call: Callable[[], Result]) -> Result | None:
    """Return what a call returns, or None where it ran out of memory; what it left is given back then."""
    import torch

    try:
        return call()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _LOG.info("out of memory: %s", " ".join(str(error).split()) or type(error).__name__)
    release_memory()  # here, where the traceback no longer holds the tensors of the call
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def release_memory() -> None:
    """Give freed memory back to the system, where the C library can do that.

    Views of many sizes fragment the heap of glibc, which otherwise keeps what was freed. Costs a few milliseconds.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


class Heap:
    """The heap of glibc while photos of many sizes go through a network on the CPU.

    What oneDNN keeps of every size of a layer is small, and comes to lie where a large tensor was: the heap ends in
    pieces, each too short for the next photo, and would grow with the number of sizes. So it is trimmed whenever the
    process has come to hold several times what a single photo took; more often would cost time, as the system clears
    every page that it gives again.

    >>> heap = Heap()
    >>> heap.photo_done()
    """

    def __init__(self) -> None:
        self._before = resident_bytes()
        self._of_a_photo = 0

    def photo_done(self) -> None:
        """Trim the heap if it has grown by several times what the first photo took."""
        now = resident_bytes()
        grown = now - self._before
        if self._of_a_photo and grown > _TIMES * self._of_a_photo:
            release_memory()
            self._before = resident_bytes()
        elif not self._of_a_photo:
            self._of_a_photo = max(grown, _LEAST)


def resident_bytes() -> int:
    """Return what of this process lies in memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@contextlib.contextmanager
def reused_memory(device: torch.device) -> Iterator[None]:
    """Let freed memory be used again at once instead of going back to the system, while forwards run on the CPU.

    By default glibc maps every large tensor anew and unmaps it when it is freed, and the system then clears each page
    of each activation. This is a setting of the whole process; at the end large blocks are mapped again, and what is
    free goes back.
    """
    option = _of_glibc("mallopt") if device.type == "cpu" else None
    if option is None:
        yield
        return
    option(_M_TRIM_THRESHOLD, 2**31 - 1)
    option(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        option(_M_MMAP_MAX, 65536)
        option(_M_MMAP_THRESHOLD, 32 << 20)  # what glibc's own rule comes to once such a block was freed
        option(_M_TRIM_THRESHOLD, 64 << 20)
        release_memory()


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
