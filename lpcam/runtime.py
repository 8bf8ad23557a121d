"""What carries out the forward passes: torch as it is, torch.compile, or OpenVINO on the CPU.

All of them compute the same features to rounding; which one is faster is measured in `benchmarks/generate_speed.py`.
"""

from __future__ import annotations

import importlib
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError, unknown
from lpcam.precision import computing_in

RUNTIMES = ("torch", "compile", "openvino")
"""The first is the default."""

Network = Callable[[Tensor], Tensor]
"""Takes images [N, 3, H, W] to features [N, C, h, w]."""
LevelsNetwork = Callable[[Tensor], tuple[Tensor, ...]]
"""Takes them to the features [N, C_l, h_l, w_l] of every level."""

Result = TypeVar("Result")

_HINTS = {"float32": "f32", "bfloat16": "bf16"}  # as OpenVINO names them
_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1}  # of the largest feature


def network_of(classifier: Classifier, runtime: str, precision: str) -> Network:
    """Return the classifier's network as a runtime carries it out.

    Args:
        classifier: On its device.
        runtime: One of `RUNTIMES`. ``compile`` and ``openvino`` take their time at the start; sizes stay open.
        precision: Number format of the forward passes, see `lpcam.precision`.

    Raises:
        LpcamError: the runtime is unknown, not installed, or cannot carry this network out.
    """
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    device = classifier.class_weights.device
    if runtime == "openvino":
        return _openvino(classifier, device, precision)
    network: Network = _compiled(classifier.features, device) if runtime == "compile" else classifier.features

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


def _openvino(classifier: Classifier, device: torch.device, precision: str) -> Network:
    if device.type != "cpu" or precision not in _HINTS:
        raise LpcamError(
            f"--runtime openvino computes on the CPU in float32 or bfloat16, not on {device} in {precision}: "
            "leave --runtime out"
        )
    model = _converted(_import_openvino(), classifier, precision)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model([images.contiguous().numpy()], share_inputs=True)[0])

    _require_equal(run, classifier, precision)
    return run


def _import_openvino() -> Any:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise LpcamError("OpenVINO is not installed: pip install 'lpcam[openvino]', or leave --runtime out") from error


def _converted(openvino: Any, classifier: Classifier, precision: str) -> Any:
    side = classifier.minimum_side
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's tracer; `_require_equal` sees what it warns of
            model = openvino.convert_model(
                classifier,
                example_input=torch.zeros(2, 3, side, side),
                input=[openvino.PartialShape([-1, 3, -1, -1])],
            )
    except Exception as error:  # OpenVINO raises its own kinds, and torch's tracer others
        raise _refusal(classifier) from error
    options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return openvino.Core().compile_model(model, "CPU", {**options, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False})


def _require_equal(run: Network, classifier: Classifier, precision: str) -> None:
    """Hold the runtime to torch's features at a size that it was not converted with."""
    side = classifier.minimum_side
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 2 * side, 3 * side, generator=generator)
    expected, found = classifier.features(images), run(images)
    if found.shape != expected.shape or not _near(found, expected, _TOLERANCES[precision]):
        raise _refusal(classifier)


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def _refusal(classifier: Classifier) -> LpcamError:
    return LpcamError(f"OpenVINO cannot carry out '{classifier.arch}' as torch does: leave --runtime out")
