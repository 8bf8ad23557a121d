"""What carries out the forward passes: torch with fused convolutions or as it is, torch.compile, or OpenVINO.

All of them compute the same features to rounding; which one is faster is measured in `benchmarks/generate_speed.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError, unknown
from lpcam.precision import computing_in
from lpcam.runtime.equality import Network
from lpcam.runtime.fused import fused_network
from lpcam.runtime.openvino import openvino_network

RUNTIMES = ("fused", "torch", "compile", "openvino")
"""The first is the default."""

LevelsNetwork = Callable[[Tensor], tuple[Tensor, ...]]
"""Takes images [N, 3, H, W] to the features [N, C_l, h_l, w_l] of every level."""

Result = TypeVar("Result")


def network_of(classifier: Classifier, runtime: str, precision: str) -> Network:
    """Return the classifier's network as a runtime carries it out.

    Args:
        classifier: On its device.
        runtime: One of `RUNTIMES`. ``fused`` is ``torch`` where nothing can be fused. All but these two take their
            time at the start; sizes stay open.
        precision: Number format of the forward passes, see `lpcam.precision`.

    Raises:
        LpcamError: the runtime is unknown, not installed, or cannot carry this network out.
    """
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    if runtime == "openvino":
        return openvino_network(classifier, precision)
    device = classifier.class_weights.device
    fused = fused_network(classifier, precision) if runtime == "fused" else None
    network: Network = _compiled(classifier.features, device) if runtime == "compile" else fused or classifier.features

    def run(images: Tensor) -> Tensor:
        with computing_in(precision, str(device)):
            return network(images)

    return run


def levels_network_of(classifier: Classifier, runtime: str, precision: str) -> LevelsNetwork:
    """Return the same for the features of every level of the network; OpenVINO leaves it to torch.

    Args:
        classifier: As `network_of` takes it.
        runtime: Likewise.
        precision: Likewise.

    Raises:
        LpcamError: as `network_of`.
    """
    device = classifier.class_weights.device
    network = _compiled(classifier.levels, device) if runtime == "compile" else classifier.levels

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with computing_in(precision, str(device)):
            return network(images)

    return run


def _compiled(network: Callable[[Tensor], Result], device: torch.device) -> Callable[[Tensor], Result]:
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise LpcamError("--compile needs a C++ compiler on the CPU: install g++, or leave --compile out")
    result: Callable[[Tensor], Result] = torch.compile(network, dynamic=True)
    return result
