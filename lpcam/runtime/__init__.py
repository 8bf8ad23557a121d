"""What carries out the forward passes: torch with fused convolutions or as it is, torch.compile, or OpenVINO.

All of them compute the same features to rounding; which one is faster is measured in `benchmarks/generate_speed.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError, unknown
from lpcam.precision import computing_in
from lpcam.runtime.equality import LevelsNetwork, Network
from lpcam.runtime.fused import fused_network
from lpcam.runtime.openvino import openvino_network

RUNTIMES = ("fused", "torch", "compile", "openvino")
"""The first is the default."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Networks:
    """A classifier's network as a runtime carries it out.

    Attributes:
        features: Gives f(x).
        levels: Gives the features of every level, of which f(x) are the last.
    """

    features: Network
    levels: LevelsNetwork


def networks_of(classifier: Classifier, runtime: str, precision: str) -> Networks:
    """Return the classifier's network as a runtime carries it out.

    Args:
        classifier: On its device.
        runtime: One of `RUNTIMES`. ``fused`` is ``torch`` where nothing can be fused; OpenVINO leaves all levels but
            the last to torch. All but these two take their time at the start; sizes stay open.
        precision: Number format of the forward passes, see `lpcam.precision`.

    Raises:
        LpcamError: the runtime is unknown, not installed, or cannot carry this network out.
    """
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    device = classifier.class_weights.device
    features: Network = classifier.features
    levels: LevelsNetwork = classifier.levels
    if runtime == "openvino":
        features = openvino_network(classifier, precision)
    elif runtime == "compile":
        features, levels = _compiled(features, device), _compiled(levels, device)
    elif runtime == "fused" and (found := fused_network(classifier, precision)):
        features, levels = _last_of(found), found
    return Networks(_in(precision, device, features), _in(precision, device, levels))


def _last_of(levels: LevelsNetwork) -> Network:
    return lambda images: levels(images)[-1]


def _in(precision: str, device: torch.device, network: Callable[[Tensor], Result]) -> Callable[[Tensor], Result]:
    def run(images: Tensor) -> Result:
        with computing_in(precision, str(device)):
            return network(images)

    return run


def _compiled(network: Callable[[Tensor], Result], device: torch.device) -> Callable[[Tensor], Result]:
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise LpcamError("--compile needs a C++ compiler on the CPU: install g++, or leave --compile out")
    result: Callable[[Tensor], Result] = torch.compile(network, dynamic=True)
    return result
