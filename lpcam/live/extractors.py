"""LPCAM and CAM of any module, in the form of torch-cam and pytorch-grad-cam."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from lpcam.errors import LpcamError
from lpcam.live.choices import ClassIndex, Target, check_class, chosen_classes
from lpcam.live.heads import ClassWeights, find_head
from lpcam.live.images import Images, Normalisation, ViewMaker, as_batches
from lpcam.live.layers import ReshapeTransform
from lpcam.live.matching import check_channels, check_layer, check_stride, check_weights, layer_or_that_of
from lpcam.live.models import TappedModel
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.prototypes import Prototypes
from lpcam.records import ViewFeatures
from lpcam.views import normalise, sum_high_res

SCALES = (1.0,)
"""The image as it is, in one forward pass, as users of torch-cam and pytorch-grad-cam expect."""


class _Extractor(ABC):
    """What LPCAM and CAM share: views in, maps of the wanted classes out.

    Attributes:
        outputs: What the model gave for the latest batch, in the view nearest to scale 1; None before the first call.
    """

    def __init__(self, tapped: TappedModel, views: ViewMaker, num_classes: int) -> None:
        self._tapped = tapped
        self._views = views
        self._num_classes = num_classes
        self._closed = False
        self.outputs: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def model(self) -> nn.Module:
        """The user's model."""
        return self._tapped.model

    @property
    def target_layer(self) -> str:
        """Name of the feature layer."""
        return self._tapped.layer_name

    def close(self) -> None:
        """End the use; later calls are refused. Between calls no hook is on the model anyway."""
        self._closed = True

    def __call__(
        self,
        images: Images,
        class_idx: ClassIndex | None = None,
        *,
        targets: Target | Sequence[Target] | None = None,
    ) -> list[Tensor]:
        """Return the maps of images.

        Args:
            images: One batch [N, 3, H, W], whose images share a forward pass, or a list of [3, H, W] of any sizes,
                sent one by one. Floats are normalised as the model wants them; uint8 is a photo as it was read.
            class_idx: A class for all images, a list of N classes, or a list of N lists. Without it and without
                targets it is the class the model predicts: of highest logit, one an image.
            targets: In place of class_idx, pytorch-grad-cam's ``ClassifierOutputTarget(281)``: one for all images, or
                N of them.

        Returns:
            For every image float32 [number of its classes, H, W] in 0..1, on the model's device.

        Raises:
            LpcamError: images, classes or layer cannot be used.
        """
        if self._closed:
            raise LpcamError(f"this {type(self).__name__} was closed: make a new one, and call it inside its 'with'")
        batches = as_batches(images)
        chosen = chosen_classes(class_idx, targets, sum(map(len, batches)), self._num_classes)
        maps: list[Tensor] = []
        for batch in batches:
            classes = None if chosen is None else chosen[len(maps) : len(maps) + len(batch)]
            maps.extend(self._maps(batch, classes))
        return maps

    @torch.no_grad()
    def _maps(self, batch: Tensor, classes: list[tuple[int, ...]] | None) -> list[Tensor]:
        method = self._method(self._tapped.device)
        maps: dict[float, list[Tensor]] = {}
        for scale, views in self._views.views(batch):
            features, output = self._tapped.features(views)
            self._check(features, views)
            self.outputs = self.outputs if maps else output
            classes = classes or self._predicted(output, len(batch))
            maps[scale] = [
                method.view_maps(ViewFeatures(features[:, index]), labels) for index, labels in enumerate(classes)
            ]
        size = (batch.shape[2], batch.shape[3])
        return [
            normalise(sum_high_res(of_image, size), method.epsilon) for of_image in zip(*maps.values(), strict=True)
        ]

    def _predicted(self, output: object, count: int) -> list[tuple[int, ...]]:
        classes = self._tapped.predicted(output, count)
        for (label,) in classes:
            check_class(label, self._num_classes)
        return classes

    @abstractmethod
    def _method(self, device: torch.device) -> Method:
        """Return the method, on a device."""

    @abstractmethod
    def _check(self, features: Tensor, views: Tensor) -> None:
        """Refuse features [V, B, C, h', w'] of views [V, B, 3, h, w] that do not fit."""


class LPCAM(_Extractor):
    """LPCAM, local prototype CAM (Chen & Sun, CVPR 2023), of any classifier.

    LPCAM_n = ReLU(mean_i cos(f, F'_i) − mean_j cos(f, B'_j)) / max   (Eq. 5, 6)

    With the published scales and the mirror (``scales=lpcam.views.PUBLISHED_SCALES, mirror=True``) and photos as
    uint8, the maps are those of ``lpcam generate``. The default is one forward pass of the image as it is.

    The model keeps its device, number format, modes and gradients; a hook is on it while a call runs.

    Args:
        model: The classifier.
        target_layer: Name or module whose output [N, C, h, w] the features are; None for that of the prototypes.
        prototypes: From `lpcam.build_prototypes` or ``lpcam cluster``, or their file.
        scales: Of the views.
        mirror: Add every view's mirror.
        reshape_transform: Takes the layer's output to [N, C, h, w], for transformers.
        class_weights: As given to `lpcam.build_prototypes`; it is part of the model's identity.
        normalisation: Mean and standard deviation of uint8 photos in 0..1; None for ImageNet's.
        check_model: Refuse prototypes made with other weights, another layer or another output stride.

    Raises:
        LpcamError: the layer does not exist, or the prototypes belong to another model.

    Departs from the paper: as ``lpcam generate`` does, see docs/methods.md.

    >>> from lpcam import build_prototypes
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> images, labels = torch.rand(2, 3, 16, 16), [[0], [0, 1]]
    >>> prototypes = build_prototypes(model, [(images, labels)], target_layer="1")
    >>> with LPCAM(model, target_layer="1", prototypes=prototypes) as cam:
    ...     maps = cam(images, class_idx=[[0], [1, 0]])
    >>> [tuple(of_image.shape) for of_image in maps]
    [(1, 16, 16), (2, 16, 16)]
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | nn.Module | None = None,
        *,
        prototypes: Prototypes | Path | str,
        scales: Sequence[float] = SCALES,
        mirror: bool = False,
        reshape_transform: ReshapeTransform | None = None,
        class_weights: ClassWeights = None,
        normalisation: Normalisation | None = None,
        check_model: bool = True,
    ) -> None:
        loaded = prototypes if isinstance(prototypes, Prototypes) else Prototypes.load(prototypes)
        tapped = TappedModel(model, layer_or_that_of(target_layer, loaded.provenance), reshape_transform)
        if check_model:
            check_layer(loaded.provenance, tapped)
            check_weights(loaded.provenance, tapped, class_weights)
        super().__init__(tapped, _views(tapped, scales, mirror, normalisation), len(loaded.centres))
        self.prototypes = loaded
        self._folded = loaded.folded()
        self._check_model = check_model

    def _method(self, device: torch.device) -> Method:
        self._folded = self._folded.to(device)
        return Lpcam(self._folded)

    def _check(self, features: Tensor, views: Tensor) -> None:
        check_channels(self._folded.shape[1], features, self.target_layer)
        if self._check_model:
            check_stride(self.prototypes.provenance, features, views)


class CAM(_Extractor):
    """CAM (Zhou et al., CVPR 2016) in the same form, to compare with.

    CAM_k = ReLU(w_k · f) / (max ReLU(w_k · f) + 1e-5)

    Args:
        model: The classifier.
        target_layer: Name or module whose output [N, C, h, w] the features are.
        class_weights: Matrix [K, C], or the layer that holds it; None for the model's last linear layer or 1×1
            convolution.
        scales: Of the views.
        mirror: Add every view's mirror.
        reshape_transform: Takes the layer's output to [N, C, h, w], for transformers.
        normalisation: Mean and standard deviation of uint8 photos in 0..1; None for ImageNet's.

    Raises:
        LpcamError: the layer does not exist, or the class weights are not found.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | nn.Module | None = None,
        *,
        class_weights: ClassWeights = None,
        scales: Sequence[float] = SCALES,
        mirror: bool = False,
        reshape_transform: ReshapeTransform | None = None,
        normalisation: Normalisation | None = None,
    ) -> None:
        tapped = TappedModel(model, target_layer, reshape_transform)
        self._weights = find_head(model, class_weights, tapped.layer).weights
        super().__init__(tapped, _views(tapped, scales, mirror, normalisation), len(self._weights))

    def _method(self, device: torch.device) -> Method:
        self._weights = self._weights.to(device)
        return Cam(self._weights)

    def _check(self, features: Tensor, views: Tensor) -> None:
        check_channels(self._weights.shape[1], features, self.target_layer)


def _views(
    tapped: TappedModel, scales: Sequence[float], mirror: bool, normalisation: Normalisation | None
) -> ViewMaker:
    """Return the maker of the views, the scale nearest to 1 first: the first view predicts the classes."""
    return tapped.view_maker(sorted(scales, key=lambda scale: abs(scale - 1)), mirror, normalisation)
