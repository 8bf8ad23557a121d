"""Whether prototypes belong to a model: its tensors, its layer, its output stride."""

from __future__ import annotations

from torch import Tensor, nn

from lpcam.errors import LpcamError
from lpcam.live.heads import ClassWeights, find_head, identity
from lpcam.live.layers import innermost
from lpcam.live.models import TappedModel
from lpcam.prototypes import Provenance

_WAIVE = "build prototypes for this model, or give check_model=False"
_SAME_STRIDE = 1.5
"""Grids of one stride differ by less than this factor (borders, small images), of two strides by more."""


def layer_or_that_of(layer: str | nn.Module | None, provenance: Provenance) -> str | nn.Module | None:
    """Return the layer, or where it is None that of the prototypes, if they name one."""
    return layer if layer is not None else provenance.layer or None


def check_weights(provenance: Provenance, tapped: TappedModel, class_weights: ClassWeights) -> None:
    """Refuse prototypes of a model with other tensors.

    Args:
        provenance: Of the prototypes; nothing is checked where it names no weights.
        tapped: The model.
        class_weights: As they were given when the prototypes were built.

    Raises:
        LpcamError: the tensors are others.
    """
    wanted = provenance.weights_sha256
    if not wanted or wanted == _identity_with_head(tapped.model, class_weights, tapped.layer):
        return
    if wanted != identity(tapped.model):  # of prototypes whose class weights were a matrix from outside
        raise LpcamError(f"the prototypes were made with other weights than this model's: {_WAIVE}")


def check_layer(provenance: Provenance, tapped: TappedModel) -> None:
    """Refuse prototypes of another layer; a sequence and its last module are one.

    Raises:
        LpcamError: the layer is another.
    """
    made = provenance.layer
    if made and innermost(tapped.model, made) != innermost(tapped.model, tapped.layer_name):
        raise LpcamError(
            f"the prototypes were made at layer '{made}', not '{tapped.layer_name}': "
            f"give target_layer='{made}', or check_model=False"
        )


def check_channels(channels: int, features: Tensor, layer: str) -> None:
    """Refuse features of another length than the prototypes or class weights have.

    Args:
        channels: C of the prototypes or class weights.
        features: float [V, B, C', h, w].
        layer: Its name.

    Raises:
        LpcamError: C' is not C.
    """
    if features.shape[2] != channels:
        raise LpcamError(
            f"layer '{layer}' has {features.shape[2]} channels, but {channels} are expected: "
            "give the target_layer that belongs to the prototypes or class weights"
        )


def check_stride(provenance: Provenance, features: Tensor, views: Tensor) -> None:
    """Refuse features of another output stride than the prototypes were made with.

    Args:
        provenance: Of the prototypes; nothing is checked where it names no stride.
        features: float [V, B, C, h', w'].
        views: float [V, B, 3, h, w].

    Raises:
        LpcamError: the output stride is another.
    """
    made, found = provenance.stride, output_stride(features, views)
    if made and not made / _SAME_STRIDE < found < made * _SAME_STRIDE:
        raise LpcamError(f"the prototypes were made at output stride {made}, here it is {found:.0f}: {_WAIVE}")


def output_stride(features: Tensor, views: Tensor) -> float:
    """Return how many px of a view belong to a grid position, along its longer side."""
    side = 3 if views.shape[3] > views.shape[4] else 4
    return views.shape[side] / features.shape[side]


def _identity_with_head(model: nn.Module, class_weights: ClassWeights, layer: nn.Module) -> str | None:
    try:
        return identity(model, find_head(model, class_weights, layer))
    except LpcamError:  # a model without a head of its own
        return None
