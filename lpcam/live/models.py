"""A user's model seen as views in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError
from lpcam.live.images import IMAGENET, Normalisation, ViewMaker
from lpcam.live.layers import ReshapeTransform, Tap, evaluating, find_layer
from lpcam.precision import computing_in
from lpcam.views import check_scales


class TappedModel:
    """Sends views through a model and reads one layer; the model is left as it was.

    The hook is on the model during a pass only, the pass is in eval mode and without gradients, and afterwards every
    module is back in its mode.

    Attributes:
        model: The user's, in its own device and number format.
        layer_name: Of the feature layer.
        layer: The feature layer.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer: str | nn.Module | None = None,
        reshape_transform: ReshapeTransform | None = None,
    ) -> None:
        self.model = model
        self.layer_name, self.layer = find_layer(model, target_layer)
        self._reshape = reshape_transform

    @property
    def normalisation(self) -> Normalisation:
        """Of the model's photos, as far as it is known, else ImageNet's."""
        return (self.model.mean, self.model.std) if isinstance(self.model, Classifier) else IMAGENET

    def view_maker(self, scales: Sequence[float], mirror: bool, normalisation: Normalisation | None) -> ViewMaker:
        """Return what makes the model's views; without a normalisation it is the model's own."""
        minimum_side = self.model.minimum_side if isinstance(self.model, Classifier) else 1
        return ViewMaker(check_scales(scales), mirror, normalisation or self.normalisation, minimum_side)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return _example(self.model).device

    def features(self, views: Tensor) -> tuple[Tensor, object]:
        """Return features and the model's output.

        Args:
            views: float32 [V, B, 3, h, w].

        Returns:
            float32 [V, B, C, h', w'], and what the model gives for [V·B, 3, h, w].

        Raises:
            LpcamError: the layer was not reached, or gives something else than features.
        """
        example = _example(self.model)
        images = views.flatten(0, 1).to(example.device, example.dtype)
        tap = Tap(self.layer_name, self.layer, self._reshape)
        with tap, evaluating(self.model), computing_in("float32", str(example.device)):
            output = self.model(images)
            features = tap.features()
        if len(features) != len(images):
            raise LpcamError(
                f"layer '{self.layer_name}' gives features of {len(features)} images for {len(images)}: "
                "choose a layer that keeps the batch, or give a reshape_transform"
            )
        return features.view(*views.shape[:2], *features.shape[1:]), output

    def predicted(self, output: object, count: int) -> list[tuple[int, ...]]:
        """Return the class of highest logit of the first ``count`` images.

        Raises:
            LpcamError: the model's output is no logits.
        """
        logits = self._logits(output)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise LpcamError("the model does not give logits [N, K], so no class can be predicted: give class_idx")
        return [(int(label),) for label in logits[:count].argmax(dim=1)]

    def _logits(self, output: object) -> object:
        if isinstance(self.model, Classifier) and isinstance(output, Tensor):
            return output.float().mean(dim=(2, 3)) @ self.model.class_weights.T
        return getattr(output, "logits", output)


def _example(model: nn.Module) -> Tensor:
    """Return a tensor of the model's device and number format."""
    tensors = (tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point())
    return next(tensors, torch.empty(0))
