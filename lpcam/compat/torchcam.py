"""LPCAM in place of torch-cam's extractors.

    from torchcam.methods import LayerCAM           →  from lpcam.compat.torchcam import LPCAM
    with LayerCAM(model) as cam_extractor:          →  with LPCAM(model, prototypes=prototypes) as cam_extractor:
        out = model(input_tensor.unsqueeze(0))
        activation_map = cam_extractor(out.squeeze(0).argmax().item(), out)

torch-cam itself need not be installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from lpcam.errors import LpcamError
from lpcam.live.choices import chosen_classes
from lpcam.live.layers import ReshapeTransform, Tap
from lpcam.live.matching import check_channels, check_layer, check_weights, layer_or_that_of
from lpcam.live.models import TappedModel
from lpcam.methods.lpcam import prototype_activation
from lpcam.prototypes import Prototypes
from lpcam.views import normalise


class LPCAM:
    """LPCAM with the constructor, the calls and the results of torch-cam's extractors (0.3 to 0.5).

    The user sends images through the model; the extractor reads the feature layer of that pass and returns maps on
    the feature grid. The hook stays on the model until ``remove_hooks`` or the end of ``with``.

    Args:
        model: The classifier.
        target_layer: Name or module of the feature layer, or a list with one; None for that of the prototypes.
        input_shape: Taken for torch-cam's sake; nothing needs it.
        enable_hooks: Whether forward passes are noticed from the start.
        reshape_transform: Takes the layer's output to [N, C, h, w], for transformers.
        prototypes: From `lpcam.build_prototypes` or ``lpcam cluster``, or their file.
        check_model: Refuse prototypes made with other weights or another layer.

    Raises:
        LpcamError: several layers, a layer that does not exist, or prototypes of another model.

    Departs from torch-cam: a map is divided by its maximum (Eq. 6) where torch-cam also subtracts its minimum; and
    errors a user can fix are `LpcamError`.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer: nn.Module | str | Sequence[nn.Module | str] | None = None,
        input_shape: tuple[int, ...] = (3, 224, 224),
        enable_hooks: bool = True,
        reshape_transform: ReshapeTransform | None = None,
        *,
        prototypes: Prototypes | Path | str,
        check_model: bool = True,
    ) -> None:
        loaded = prototypes if isinstance(prototypes, Prototypes) else Prototypes.load(prototypes)
        tapped = TappedModel(model, layer_or_that_of(only_layer(target_layer), loaded.provenance))
        if check_model:
            check_layer(loaded.provenance, tapped)
            check_weights(loaded.provenance, tapped, None)
        self.model = model
        self.target_names = [tapped.layer_name]
        self._folded = loaded.folded()
        self._tap = Tap(tapped.layer_name, tapped.layer, reshape_transform)
        self._tap.listening = enable_hooks
        self._tap.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove_hooks()

    def __repr__(self) -> str:
        return f"LPCAM(target_layer={self.target_names})"

    def __call__(
        self,
        class_idx: int | list[int] | None = None,
        scores: Any = None,
        normalized: bool = True,
        *,
        targets: Any = None,
    ) -> list[Tensor]:
        """Return the maps of the latest forward pass.

        Args:
            class_idx: A class for all images, or a list with one for each.
            scores: The model's output; nothing needs it.
            normalized: Divide every map by its maximum.
            targets: In place of class_idx: a target with a ``category``, or a list with one for each image.

        Returns:
            A list of one tensor: float32 [N, h, w], in 0..1, of the feature layer's grid.

        Raises:
            LpcamError: there was no forward pass, or classes or features cannot be used.
        """
        return self.compute_cams(class_idx, scores, normalized, targets=targets)

    @torch.no_grad()
    def compute_cams(
        self,
        class_idx: int | list[int] | None = None,
        scores: Any = None,
        normalized: bool = True,
        *,
        targets: Any = None,
    ) -> list[Tensor]:
        """Return the maps of the latest forward pass, as a call does."""
        features = self._tap.features()
        check_channels(self._folded.shape[1], features[None], self._tap.name)
        chosen = chosen_classes(class_idx, targets, len(features), len(self._folded))
        if chosen is None or any(len(labels) != 1 for labels in chosen):
            raise LpcamError("torch-cam's form wants one class an image: give class_idx, such as 11 or [11, 3]")
        folded = self._folded.to(features.device)[[label for (label,) in chosen]]
        maps = torch.cat(
            [prototype_activation(of_image[None], row[None])[0] for of_image, row in zip(features, folded, strict=True)]
        )
        return [normalise(maps) if normalized else maps]

    def enable_hooks(self) -> None:
        """Notice forward passes."""
        self._tap.listening = True

    def disable_hooks(self) -> None:
        """Do not notice forward passes."""
        self._tap.listening = False

    def reset_hooks(self) -> None:
        """Forget the latest forward pass."""
        self._tap.forget()

    def remove_hooks(self) -> None:
        """Take the hook off the model."""
        self._tap.close()

    @staticmethod
    def fuse_cams(cams: list[Tensor], target_shape: tuple[int, int] | None = None) -> Tensor:
        """Return the map of the one layer there is.

        Args:
            cams: What a call returned.
            target_shape: Taken for torch-cam's sake, which fuses several layers at that size.
        """
        del target_shape
        return cams[0]

    @contextlib.contextmanager
    def _hooks_off(self) -> Iterator[None]:
        """Do not notice forward passes meanwhile; torch-cam's metrics ask for it."""
        before, self._tap.listening = self._tap.listening, False
        try:
            yield
        finally:
            self._tap.listening = before


def only_layer(layers: nn.Module | str | Sequence[nn.Module | str] | None) -> nn.Module | str | None:
    """Return the layer of a list with one; prototypes are of one layer.

    Raises:
        LpcamError: the list has none or several.
    """
    if layers is None or isinstance(layers, (str, nn.Module)):
        return layers
    if len(layers) != 1:
        raise LpcamError(f"{len(layers)} target layers are given, prototypes are of one: give that one alone")
    return layers[0]
