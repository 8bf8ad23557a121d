"""The class weights of a user's model, and the identity of the model by its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpcam.backbones import checkpoints
from lpcam.backbones.classifier import Classifier, same_name
from lpcam.errors import LpcamError, unknown

ClassWeights = Tensor | NDArray[Any] | nn.Module | str | None
"""A matrix [K, C], a linear layer or 1×1 convolution, its name, or None for the model's last one."""


@dataclass(frozen=True)
class Head:
    """Class weights, and where they lie.

    Attributes:
        weights: float32 [K, C], on the CPU.
        name: Their name in the model's state dict; None for a matrix from outside.
    """

    weights: Tensor
    name: str | None = None


def find_head(model: nn.Module, class_weights: ClassWeights = None, layer: nn.Module | None = None) -> Head:
    """Return the class weights of a model.

    Args:
        model: The user's model.
        class_weights: Where they are. None takes the last linear layer or 1×1 convolution in the order in which the
            model defines its modules.
        layer: The feature layer; nothing inside it is a head.

    Raises:
        LpcamError: there is none, there are several that could be meant, or a value is not finite.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> find_head(model).name
    '3.weight'
    """
    if isinstance(class_weights, (str, nn.Module)):
        return _of_module(model, class_weights)
    if class_weights is not None:
        matrix = torch.as_tensor(class_weights).cpu()
        return Head(checkpoints.class_weights(matrix, "the class_weights given"))
    if isinstance(model, Classifier):
        return Head(model.class_weights.cpu())
    return _last_head(model, layer)


def identity(model: nn.Module, head: Head | None = None) -> str:
    """Return the SHA-256 of a model's tensors, of the head only its class weights.

    For a model whose modules are named as `lpcam.load_classifier` names them (torchvision's ResNets, say) it is the
    one that ``lpcam cluster`` records. Copies in float16 or bfloat16 are other models.

    Args:
        model: The user's model.
        head: Its class weights; None, or a matrix from outside, counts every tensor of the model as it is.
    """
    if isinstance(model, Classifier):
        return model.sha256
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    tensors = checkpoints.canonical(state, same_name, "the model")
    if head is not None and head.name is not None:
        prefix = head.name.removesuffix("weight")
        trunk = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        tensors = {**trunk, head.name: head.weights}
    return checkpoints.fingerprint(
        {name: tensor.float() for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    )


def _of_module(model: nn.Module, head: str | nn.Module) -> Head:
    modules = dict(model.named_modules())
    named = {name: module for name, module in modules.items() if head in (name, module)}
    if not named and isinstance(head, nn.Module):
        raise LpcamError("class_weights is a module that is not part of the model: give one of its own, or a matrix")
    if not named:
        raise unknown(
            "layer of class weights", str(head), [name for name, module in modules.items() if _is_head(module)]
        )
    name, module = next(iter(named.items()))
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        raise LpcamError(
            f"layer '{name}' has no weight: give class_weights a linear layer, a 1×1 convolution or a matrix"
        )
    return Head(_matrix(weight, name), _weight_name(name))


def _last_head(model: nn.Module, layer: nn.Module | None) -> Head:
    inside = set(layer.modules()) if layer is not None else set()
    heads = {
        name: _matrix(module.weight, name)
        for name, module in model.named_modules()
        if _is_head(module) and module not in inside
    }
    if not heads:
        raise LpcamError("the model has no linear layer or 1×1 convolution: give class_weights a matrix [K, C]")
    last = list(heads)[-1]
    twins = [name for name, weights in heads.items() if weights.shape == heads[last].shape]
    if len(twins) > 1:
        raise LpcamError(
            f"{len(twins)} layers could hold the class weights ({', '.join(twins)}): name one by class_weights"
        )
    return Head(heads[last], _weight_name(last))


def _is_head(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def _matrix(weight: Any, name: str) -> Tensor:
    return checkpoints.class_weights(weight.detach().cpu(), f"layer '{name}'")


def _weight_name(module: str) -> str:
    """Return the name as the identity spells it, without what wrappers put in front."""
    (name,) = checkpoints.canonical({f"{module}.weight" if module else "weight": torch.empty(0)}, same_name, "")
    return name
