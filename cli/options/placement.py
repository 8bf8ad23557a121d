"""Where and how the work is done: device, batches, number format, processes, shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lpcam.engines import Placement
from lpcam.records import Execution

from ..completing import DEVICES, ENGINES, PRECISIONS, RUNTIMES, one_of
from .declaring import Command, options_under, stacked
from .taking import take

_option = options_under("Device, speed, machines")

device_option = _option("--device", shell_complete=one_of(DEVICES), help="auto, cpu, cuda or cuda:i. [default: auto]")
idle_device_option = _option(
    "--device", expose_value=False, help="This runs on the CPU; taken so that scripts may pass it everywhere."
)
execution_options = stacked(
    device_option,
    _option("--batch-size", type=int, help="Photos of one size that share a forward pass. [CPU 1, CUDA 8]"),
    _option("--workers", type=int, help="Threads that read photos ahead. [CPU 1, CUDA up to 8]"),
    _option(
        "--precision",
        shell_complete=one_of(PRECISIONS),
        help="Of the forward passes: float32, bfloat16, float16 or auto. [default: float32]",
    ),
    _option(
        "--runtime",
        shell_complete=one_of(RUNTIMES),
        help="What carries the network out: fused (torch, with less to do on a CPU), torch, compile or openvino. "
        "[default: fused]",
    ),
    _option("--strict", is_flag=True, default=None, help="Stop at the first photo that cannot be processed."),
    _option("--compile", "runtime", flag_value="compile", help="The same as --runtime compile: torch.compile."),
)
spread_option = _option(
    "--spread",
    is_flag=True,
    default=None,
    help="Divide every class over the workers, not the classes: for a class larger than a process's memory.",
)


def placement_options(*, divided: bool) -> Callable[[Command], Command]:
    """Return the options that say where the work is done; --shard is shown where the stage can be divided by it."""
    return stacked(
        _option(
            "--engine",
            shell_complete=one_of(ENGINES),
            help="Where shards are done: local (processes) or ray. [default: this process]",
        ),
        _option("--processes", type=int, help="Workers. [one a GPU where --engine is given, else 1]"),
        _option("--threads", type=int, help="CPU threads a process. [cores ÷ processes]"),
        _option(
            "--shard",
            metavar="I/N",
            hidden=not divided,  # it is taken all the same: the refusal says what to do instead
            help="Do share I of N, such as 0/4; auto under Slurm's array or torchrun.",
        ),
        _option("--ray-address", help="Of a running Ray cluster, such as auto. [start Ray here]"),
    )


def take_execution(options: dict[str, Any]) -> Execution:
    """Remove the execution options and return them."""
    return Execution(**take(options, "device", "batch_size", "workers", "precision", "runtime", "strict"))


def take_placement(options: dict[str, Any]) -> Placement:
    """Remove the placement options and return them."""
    return Placement(**take(options, "engine", "processes", "threads", "shard", "ray_address"))
