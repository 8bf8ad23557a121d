"""memory: what is a want of memory, what comes after it; pages that are used again."""

from __future__ import annotations

import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from lpcam import memory
from lpcam.errors import LpcamError
from lpcam.memory import _of_glibc, is_out_of_memory, reused_memory, unless_exhausted


def test_while_forwards_run_nothing_is_mapped_and_afterwards_it_is_again(monkeypatch):
    calls = []
    monkeypatch.setattr("lpcam.memory._of_glibc", lambda name: lambda *of: calls.append((name, *of)))
    with reused_memory(torch.device("cpu")):
        assert calls == [("mallopt", -1, 2**31 - 1), ("mallopt", -4, 0)]
        calls.clear()
    assert calls == [("mallopt", -4, 65536), ("mallopt", -3, 32 << 20), ("mallopt", -1, 64 << 20), ("malloc_trim", 0)]


@pytest.mark.skipif(_of_glibc("mallopt") is None, reason="needs glibc")
def test_a_large_tensor_takes_the_pages_of_the_one_before():
    """In a process of its own: what other tests left on the heap may stand in the way of 64 MB."""
    counted = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True).stdout
    assert int(counted) < 5 * 16384  # of the ten times it takes otherwise


_FAULTS = """
import resource, torch
from lpcam.memory import reused_memory
with reused_memory(torch.device("cpu")):
    for _ in range(8):  # a few go by until the remains of aligned blocks, which glibc keeps aside, are joined to them
        torch.ones(16 << 20)  # 64 MB, 16384 pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_of_another_device_is_left_alone(monkeypatch):
    monkeypatch.setattr("lpcam.memory._of_glibc", lambda name: pytest.fail("asked for"))
    with reused_memory(torch.device("cuda")):
        pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((9,), np.dtype(float)),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_want_of_memory_is_known_by_every_name(error):
    calls = []

    def call():
        calls.append(1)
        raise error

    assert is_out_of_memory(error)
    assert unless_exhausted(call) is None
    assert calls == [1]


def test_an_error_that_memory_was_the_cause_of_counts_as_one():
    def call():
        try:
            raise MemoryError
        except MemoryError as error:
            raise LpcamError("cannot read it") from error

    assert unless_exhausted(call) is None


@pytest.mark.parametrize("error", [RuntimeError("expected 3 channels"), ValueError("out of memory"), LpcamError("no")])
def test_any_other_error_is_raised(error):
    def call():
        raise error

    with pytest.raises(type(error), match=str(error)):
        unless_exhausted(call)


def test_the_tensors_of_a_call_that_failed_are_gone_when_memory_is_given_back(monkeypatch):
    held = []

    def call():
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise MemoryError

    monkeypatch.setattr("lpcam.memory.release_memory", lambda: held.append(held[0]()))
    assert unless_exhausted(call) is None
    assert held[1] is None


def test_a_result_comes_through():
    assert unless_exhausted(lambda: "maps") == "maps"


def test_the_heap_is_trimmed_when_it_holds_several_times_what_a_photo_took(monkeypatch):
    trimmed = []
    sizes = iter([100, 400, 900, 1001, 300, 800, 901, 200])
    monkeypatch.setattr(memory, "_LEAST", 1)
    monkeypatch.setattr(memory, "_TIMES", 3)
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(memory, "release_memory", lambda: trimmed.append(1))
    heap = memory.Heap()
    counts = []
    for _ in range(4):
        heap.photo_done()
        counts.append(len(trimmed))
    assert counts == [0, 0, 1, 1], "300 the first took; 900 is not above 100 + 3 times that, 1001 is; then from 300 on"
