"""LPCAM as one network, from images to the maps of all classes, and its files for torch.export and ONNX."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from lpcam.backbones.classifier import Classifier
from lpcam.corridor.basis import read_basis
from lpcam.errors import LpcamError, unknown
from lpcam.files import write_atomically
from lpcam.live.layers import ReshapeTransform, Tap, evaluating
from lpcam.live.matching import check_layer, check_weights, layer_or_that_of
from lpcam.live.models import TappedModel
from lpcam.methods.lpcam import prototype_activation
from lpcam.prototypes import Prototypes
from lpcam.views import padded_size
from lpcam.workspace import Workspace

DEFAULT_SIZE = (224, 224)
DEFAULT_FORMAT = "onnx"
INPUT, OUTPUT = "images", "maps"
"""Names of the network's input and output in a file."""


class LpcamNet(nn.Module):
    """A backbone with LPCAM's cosine head: images in, maps of all classes out, at one scale without a mirror.

    LPCAM_n = ReLU(f̂ · v_n) / max, as `lpcam.LPCAM` computes it by default.

    Args:
        model: The classifier; it becomes a part of this module and is not changed.
        target_layer: Name or module of the feature layer; None for that of the prototypes.
        prototypes: Of that model.
        upsample: Give maps of the images' size, not of the feature grid.
        reshape_transform: Takes the layer's output to [N, C, h, w], for transformers.
        check_model: Refuse prototypes made with other weights or another layer.

    Raises:
        LpcamError: the layer does not exist, or the prototypes belong to another model.

    >>> from lpcam import build_prototypes
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> images = torch.rand(1, 3, 16, 16)
    >>> net = LpcamNet(model, "1", prototypes=build_prototypes(model, [(images, [[0, 1]])], target_layer="1"))
    >>> tuple(net(images).shape)
    (1, 2, 14, 14)
    """

    folded: Tensor

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | nn.Module | None = None,
        *,
        prototypes: Prototypes | Path | str,
        upsample: bool = False,
        reshape_transform: ReshapeTransform | None = None,
        check_model: bool = True,
    ) -> None:
        super().__init__()
        loaded = prototypes if isinstance(prototypes, Prototypes) else Prototypes.load(prototypes)
        tapped = TappedModel(model, layer_or_that_of(target_layer, loaded.provenance))
        if check_model:
            check_layer(loaded.provenance, tapped)
            check_weights(loaded.provenance, tapped, None)
        self.model = model
        self.prototypes = loaded
        self.upsample = upsample
        self._layer_name = tapped.layer_name
        self._reshape = reshape_transform
        self.register_buffer("folded", loaded.folded().to(tapped.device))

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps of all classes.

        Args:
            images: float [N, 3, H, W], normalised.

        Returns:
            float32 [N, K, h, w], or [N, K, H, W] with ``upsample``, every map in 0..1.
        """
        maps = prototype_activation(self._features(images), self.folded)
        if self.upsample:
            maps = _upsampled(maps, (images.shape[2], images.shape[3]))
        peak = maps.amax(dim=(2, 3), keepdim=True)
        return maps / torch.where(peak > 0, peak, torch.ones_like(peak))

    def about(self) -> dict[str, Any]:
        """Return what a program needs to know to use an exported file, JSON values only."""
        made = self.prototypes.provenance
        mean, std = TappedModel(self.model, self._layer_name).normalisation
        return {
            "classes": list(made.classes),
            "layer": self._layer_name,
            "mean": list(mean),
            "std": list(std),
            "prototypes": self.prototypes.sha256,
            "upsample": self.upsample,
        }

    def _features(self, images: Tensor) -> Tensor:
        if isinstance(self.model, Classifier) and self._layer_name == self.model.layer:
            return self.model.features(images).float()
        with Tap(self._layer_name, self.model.get_submodule(self._layer_name), self._reshape) as tap:
            self.model(images)
            return tap.features()


def _upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize to the padded size and crop, as `lpcam.views.sum_high_res` does.

    By index and not by slice: a slice that happens to take all of the example would be taken for a rule.
    """
    maps = F.interpolate(maps, padded_size(size), mode="bilinear", align_corners=False)
    rows, columns = (torch.arange(side, device=maps.device) for side in size)
    return maps.index_select(2, rows).index_select(3, columns)


def export_workspace(
    workspace: Workspace,
    path: Path,
    *,
    format: str = DEFAULT_FORMAT,
    size: tuple[int, int] = DEFAULT_SIZE,
    dynamic: bool = False,
    upsample: bool = False,
) -> dict[str, Any]:
    """Export the classifier of a workspace with its prototypes; the command ``lpcam export``.

    Args:
        workspace: With features and prototypes.
        path: The file.
        format: See `export`.
        size: See `export`.
        dynamic: See `export`.
        upsample: Give maps of the images' size.

    Returns:
        What `export` returns.

    Raises:
        LpcamError: features or prototypes are missing or do not belong together, or as `export`.
    """
    _require_format(format)
    basis = read_basis(workspace)
    model = basis.classifier.load_again(len(basis.classes), "cpu", basis.weights_sha256)
    net = LpcamNet(model, prototypes=workspace.prototypes, upsample=upsample)
    return export(net, path, format=format, size=size, dynamic=dynamic)


def export(
    net: LpcamNet,
    path: Path | str,
    *,
    format: str = DEFAULT_FORMAT,
    size: tuple[int, int] = DEFAULT_SIZE,
    dynamic: bool = False,
) -> dict[str, Any]:
    """Write a network to a file, in eval mode.

    Args:
        net: The network; it is left as it was.
        path: The file; written whole or not at all.
        format: ``onnx``, or ``pt2`` for `torch.export.load`.
        size: (H, W) of the images. With ``dynamic`` an example only.
        dynamic: Leave the number of images and their size open; without it they are one image of that size.

    Returns:
        What a program needs to know to use the file (classes, mean, std, …), which is also in the file: in ONNX's
        metadata under ``lpcam``, in a pt2 as the extra file ``lpcam``.

    Raises:
        LpcamError: the format is unknown, what it needs is not installed, or the network cannot be exported.
    """
    _require_format(format)
    about = {"format": format, "size": None if dynamic else list(size), "dynamic": dynamic, **net.about()}
    program = _exported(net, size, dynamic)
    content = _FORMATS[format](program, json.dumps(about))
    write_atomically(Path(path), lambda partial: _write(partial, content))
    return about


def _exported(net: LpcamNet, size: tuple[int, int], dynamic: bool) -> ExportedProgram:
    # An example of one image, or of equal sides, would be taken for a rule.
    example = (
        torch.zeros(2, 3, size[0], size[1] + 32 if size[0] == size[1] else size[1])
        if dynamic
        else torch.zeros(1, 3, *size)
    )
    example = example.to(net.folded.device)
    shapes = {INPUT: {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}} if dynamic else None
    try:
        with evaluating(net):
            return torch.export.export(net, (example,), dynamic_shapes=shapes)
    except Exception as error:  # a user's network can be beyond torch.export in any way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        advice = "leave out --dynamic (dynamic=False)" if dynamic else "try another --size"
        raise LpcamError(f"the network cannot be exported at {size[0]}x{size[1]} ({reason}): {advice}") from error


def _pt2(program: ExportedProgram, about: str) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"lpcam": about})
    return buffer.getvalue()


def _onnx(program: ExportedProgram, about: str) -> bytes:
    translated = torch.onnx.export(program, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    if translated is None:
        raise TypeError("torch.onnx.export returned nothing")
    model = translated.model_proto
    model.metadata_props.add(key="lpcam", value=about)
    content: bytes = model.SerializeToString()
    return content


_FORMATS: dict[str, Callable[[ExportedProgram, str], bytes]] = {"onnx": _onnx, "pt2": _pt2}


def _require_format(format: str) -> None:
    if format not in _FORMATS:
        raise unknown("format", format, _FORMATS)
    if format == "onnx" and not all(map(find_spec, ("onnx", "onnxscript"))):
        raise LpcamError("--format onnx needs onnx and onnxscript: pip install 'lpcam[onnx]', or choose --format pt2")


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
