"""OpenVINO: the network as Intel's runtime carries it out on the CPU, in float32 or bfloat16."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError
from lpcam.runtime.equality import Network, refusal, require_equal

_TITLE = "OpenVINO"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}  # as OpenVINO names them
_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1}  # of the largest feature


def openvino_network(classifier: Classifier, precision: str) -> Network:
    """Return the classifier's network as OpenVINO carries it out.

    Args:
        classifier: On its device.
        precision: ``float32`` or ``bfloat16``.

    Raises:
        LpcamError: device or precision are others, or OpenVINO is not installed or computes other features.
    """
    device = classifier.class_weights.device
    if device.type != "cpu" or precision not in _HINTS:
        raise LpcamError(
            f"--runtime openvino computes on the CPU in float32 or bfloat16, not on {device} in {precision}: "
            "leave --runtime out"
        )
    model = _converted(_import_openvino(), classifier, precision)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model([images.contiguous().numpy()], share_inputs=True)[0])

    require_equal(lambda images: (run(images),), classifier, _TITLE, _TOLERANCES[precision])
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
            warnings.simplefilter("ignore")  # of torch's tracer; `require_equal` sees what it warns of
            model = openvino.convert_model(
                classifier,
                example_input=torch.zeros(2, 3, side, side),
                input=[openvino.PartialShape([-1, 3, -1, -1])],
            )
    except Exception as error:  # OpenVINO raises its own kinds, and torch's tracer others
        raise refusal(_TITLE, classifier) from error
    options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return openvino.Core().compile_model(model, "CPU", {**options, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False})
