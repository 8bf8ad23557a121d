"""LPCAM in place of pytorch-grad-cam's classes.

    from pytorch_grad_cam import GradCAM            →  from lpcam.compat.gradcam import LPCAM
    with GradCAM(model=model, target_layers=[…])    →  with LPCAM(model=model, target_layers=[…], prototypes=prototypes)
        as cam:
        grayscale_cam = cam(input_tensor=input_tensor, targets=[ClassifierOutputTarget(281)])

pytorch-grad-cam itself need not be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpcam import live
from lpcam.compat.torchcam import only_layer
from lpcam.errors import LpcamError
from lpcam.live.layers import ReshapeTransform
from lpcam.prototypes import Prototypes

_FACTORS = (0.9, 1.0, 1.1)
"""By which pytorch-grad-cam multiplies an image, and its mirror, for ``aug_smooth``."""


class LPCAM:
    """LPCAM with the constructor, the calls and the results of pytorch-grad-cam's classes (1.4, 1.5).

    Args:
        model: The classifier. It is in eval mode during a call and afterwards in the mode it was in.
        target_layers: A list with the feature layer.
        reshape_transform: Takes the layer's output to [N, C, h, w], for transformers.
        prototypes: From `lpcam.build_prototypes` or ``lpcam cluster``, or their file.
        check_model: Refuse prototypes made with other weights, another layer or another output stride.

    Attributes:
        outputs: What the model gave in the latest call.

    Raises:
        LpcamError: several layers, a layer that does not exist, or prototypes of another model.

    Departs from pytorch-grad-cam: no gradient is computed, ``eigen_smooth`` is refused, and an IndexError inside
    ``with`` is raised and not swallowed.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module],
        reshape_transform: ReshapeTransform | None = None,
        *,
        prototypes: Prototypes | Path | str,
        check_model: bool = True,
    ) -> None:
        self._cam = live.LPCAM(
            model,
            only_layer(target_layers),
            prototypes=prototypes,
            reshape_transform=reshape_transform,
            check_model=check_model,
        )
        self.model = model
        self.target_layers = target_layers
        self.outputs: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cam.close()

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Sequence[Any] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> NDArray[np.float32]:
        """Return the maps of a batch.

        Args:
            input_tensor: float [N, 3, H, W], normalised.
            targets: N targets with a ``category``, such as ``ClassifierOutputTarget(281)``; None for the predicted
                classes.
            aug_smooth: Average over the image and its mirror, times 0.9, 1 and 1.1.
            eigen_smooth: Refused: it is the first principal component of channel-weighted activations, which LPCAM
                does not have.

        Returns:
            float32 [N, H, W] in 0..1.

        Raises:
            LpcamError: the input or an option cannot be used.
        """
        if eigen_smooth:
            raise LpcamError("eigen_smooth works on channel weights, which LPCAM does not have: leave it out")
        if not aug_smooth:
            return self._maps(input_tensor, targets)
        smoothed = [self._maps(input_tensor * factor, targets) for factor in _FACTORS]
        smoothed += [self._maps(input_tensor.flip(-1) * factor, targets)[..., ::-1] for factor in _FACTORS]
        mean: NDArray[np.float32] = np.mean(smoothed, axis=0, dtype=np.float32)
        return mean

    def _maps(self, input_tensor: Tensor, targets: Sequence[Any] | None) -> NDArray[np.float32]:
        maps = self._cam(input_tensor, targets=targets)
        self.outputs = self._cam.outputs
        stacked: NDArray[np.float32] = torch.cat(maps).cpu().numpy()
        return stacked
