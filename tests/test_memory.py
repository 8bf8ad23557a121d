"""memory: what is a want of memory, what comes after it; pages that are used again."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from lpcam.errors import LpcamError
from lpcam.memory import _CACHES, _of_glibc, forget_shapes, is_out_of_memory, reused_memory, unless_exhausted


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


@pytest.mark.skipif(_of_glibc("mallopt") is None, reason="needs glibc")
def test_memory_does_not_grow_with_photos_of_many_sizes():
    """With torch's own capacities the second number is three times the first."""
    environment = {name: value for name, value in os.environ.items() if name not in _CACHES}
    command = [sys.executable, "-c", _MANY_SIZES]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    few, many = map(int, answer.split())
    assert many < 1.1 * few


_MANY_SIZES = """
import random
from pathlib import Path
from lpcam.memory import forget_shapes, reused_memory
forget_shapes()
import torch
from torchvision.models import mobilenet_v2
torch.set_num_threads(1)
net = mobilenet_v2(weights=None).features.eval().to(memory_format=torch.channels_last)
sides = random.Random(0)
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
with reused_memory(torch.device("cpu")), torch.inference_mode():
    before = resident()
    for count in range(40):
        size = (180, 180) if count == 0 else [sides.randint(60, 180) for _ in range(2)]
        for scale in (1, 0.5, 1.5, 2):
            height, width = (int(side * scale) for side in size)
            net(torch.zeros(2, 3, height, width).to(memory_format=torch.channels_last))
        if count in (9, 39):
            print(resident() - before)
"""


def test_what_a_user_set_is_left(monkeypatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    forget_shapes()
    assert [os.environ[name] for name in _CACHES] == ["512", "1"]


def test_the_command_line_forgets_shapes_before_torch_is_there():
    command = [sys.executable, "-c", _COMMAND_LINE]
    environment = {name: value for name, value in os.environ.items() if name not in _CACHES}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert answer.splitlines()[-1] == "0 1 False"


_COMMAND_LINE = """
import os, sys
from lpcam_cli.main import main
main(["completion", "bash"], standalone_mode=False)
print(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"], os.environ["LRU_CACHE_CAPACITY"], "torch" in sys.modules)
"""
