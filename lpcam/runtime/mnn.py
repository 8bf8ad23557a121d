"""MNN: the network as Alibaba's runtime carries it out on the CPU, in float32, with Winograd's convolutions.

torch's tracer writes it as ONNX (torch.export, by which `lpcam.export` goes, takes many times as long), and MNN's
converter turns that into MNN's own format. The converter works in a process of its own, because it writes where it
stands: in a folder which is gone when the network has been read.
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError
from lpcam.runtime.equality import Network, refusal, require_equal
from lpcam.runtime.stdout import stdout_of_c_logged

_LOG = logging.getLogger(__name__)

_TITLE = "MNN"
_TOLERANCE = 1e-4  # of the largest feature
_INPUT, _OUTPUT = "images", "features"
_ONNX, _MNN = "network.onnx", "network.mnn"
_CONVERTER = "_tools"  # of MNN, by its own name: MNN.tools, which wraps it, installs a package and sends a report
_CONVERT = f"import sys, {_CONVERTER}; {_CONVERTER}.mnnconvert(sys.argv)"
_REUSED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}  # see `lpcam.memory.reused_memory`
_WINOGRAD_LEVEL = (3, 2)  # of its hints, the number of WINOGRAD_MEMORY_LEVEL; above 2, tiles are larger and less exact


def mnn_network(classifier: Classifier, precision: str) -> Network:
    """Return the classifier's network as MNN carries it out.

    Args:
        classifier: On its device.
        precision: ``float32``.

    Raises:
        LpcamError: device or precision are others, or MNN is not installed or computes other features.
    """
    device = classifier.class_weights.device
    if device.type != "cpu" or precision != "float32":
        raise LpcamError(
            f"--runtime mnn computes on the CPU in float32, not on {device} in {precision}: "
            "give --device cpu and --precision float32, or leave --runtime out"
        )
    network = _converted(_imported(), classifier)
    require_equal(network, classifier, _TITLE, _TOLERANCE)
    return network


def _imported() -> Any:
    if not all(map(find_spec, ("MNN", _CONVERTER, "onnx"))):
        raise LpcamError("--runtime mnn needs MNN and onnx: pip install 'lpcam[mnn]', or leave --runtime out")
    with stdout_of_c_logged():
        return importlib.import_module("MNN")


def _converted(mnn: Any, classifier: Classifier) -> _Network:
    with tempfile.TemporaryDirectory(prefix="lpcam-mnn-") as folder:
        try:
            _write_onnx(classifier, Path(folder, _ONNX))
        except Exception as error:  # torch's exporter raises whatever its tracer meets
            raise refusal(_TITLE, classifier) from error
        _convert(folder)
        if not Path(folder, _MNN).exists():
            raise refusal(_TITLE, classifier)
        return _Network(mnn, _loaded(mnn, Path(folder, _MNN)))


def _write_onnx(classifier: Classifier, path: Path) -> None:
    side = classifier.minimum_side
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer; `require_equal` sees what it warns of
        torch.onnx.export(
            classifier,
            (torch.zeros(2, 3, side, side),),
            str(path),
            dynamo=False,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_axes={_INPUT: {0: "N", 2: "H", 3: "W"}},
        )


def _convert(folder: str) -> None:
    words = ["-f", "ONNX", "--modelFile", _ONNX, "--MNNModel", _MNN, "--bizCode", "lpcam"]
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _CONVERT, *words],
        cwd=folder,
        env={**os.environ, **_REUSED_MEMORY, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
    )
    _LOG.debug("MNN's converter ended with %d: %s", found.returncode, (found.stdout + found.stderr).strip())


def _loaded(mnn: Any, path: Path) -> Any:
    schedule = {"backend": "CPU", "precision": "high", "numThread": torch.get_num_threads()}
    with stdout_of_c_logged():
        manager = mnn.nn.create_runtime_manager((schedule,))
        manager.set_hint(*_WINOGRAD_LEVEL)
        return mnn.nn.load_module_from_file(str(path), [_INPUT], [_OUTPUT], runtime_manager=manager)


class _Network:
    """Calls a module of MNN, one call at a time."""

    def __init__(self, mnn: Any, module: Any) -> None:
        self._expr = mnn.expr
        self._module = module
        self._turn = threading.Lock()

    def __call__(self, images: Tensor) -> Tensor:
        """Return features [N, C, h, w] of images [N, 3, H, W]; they own their memory.

        Raises:
            LpcamError: MNN fails, as it does when memory runs out; it is not called again then, which ends the process.
        """
        with self._turn, stdout_of_c_logged():
            features = self._features(images) if self._module is not None else None
        if features is None:
            self._module = None
            raise LpcamError(
                f"MNN failed at images of {'x'.join(map(str, images.shape))}, perhaps for want of memory: "
                "leave --runtime out, or give --batch-size 1"
            )
        return features

    def _features(self, images: Tensor) -> Tensor | None:
        try:
            given = self._expr.const(images.contiguous().numpy(), list(images.shape), self._expr.NCHW)
        except SystemError:  # how `const` says that there is no memory for its copy
            return None
        found = self._module.forward([given])
        if not found:
            return None
        features = self._expr.convert(found[0], self._expr.NCHW)
        return torch.from_numpy(features.read().copy())  # what `read` gives ends with `features`
