"""In which number format the forward passes compute.

``auto`` is a rule of the processor, not a stopwatch: the same machine always answers the same, so seeds stay the same
bytes from run to run. What it rests on is measured in `benchmarks/generate_speed.py` and `benchmarks/precision.py`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch

from lpcam.errors import unknown

PRECISIONS = ("float32", "auto", "bfloat16", "float16")
"""The first is the default: exact to rounding, everywhere."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_LOG = logging.getLogger(__name__)


def resolve_precision(precision: str, device: str) -> str:
    """Return the number format that a name means on a device.

    ``auto`` is bfloat16 where the device multiplies it faster than float32 (a processor with AVX-512 BF16 or AMX, a
    CUDA device of compute capability 8 or more), float16 on older CUDA devices, and float32 anywhere else.

    Args:
        precision: One of `PRECISIONS`.
        device: As torch names it, ``auto`` resolved already.

    Raises:
        LpcamError: the precision is unknown.

    >>> resolve_precision("float16", "cpu")
    'float16'
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    found = _fastest(device)
    _LOG.info("auto on %s is %s: %s", device, found, _WHY[found])
    return found


def _fastest(device: str) -> str:
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = any(abilities.get(unit) for unit in ("avx512_bf16", "amx_bf16"))
    return "bfloat16" if fast else "float32"


_WHY = {
    "bfloat16": "it multiplies bfloat16 faster than float32",
    "float16": "it has no bfloat16 of its own",
    "float32": "it has neither AVX-512 BF16 nor AMX",
}


@contextlib.contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """Let convolutions and matrix products compute in a number format.

    Args:
        precision: ``float32``, ``bfloat16`` or ``float16``. float32 means all 24 bits: TensorFloat-32, torch's default
            for convolutions on CUDA, is off.
        device: As torch names it.
    """
    kind = torch.device(device).type
    if precision != "float32":
        with torch.autocast(kind, _DTYPES[precision]):
            yield
    elif kind == "cuda":
        with torch.backends.cudnn.flags(enabled=True, benchmark=torch.backends.cudnn.benchmark, allow_tf32=False):
            yield
    else:
        yield
