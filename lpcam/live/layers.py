"""A layer of a user's model, found by name or module, and a hook that reads what it gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lpcam.backbones.classifier import Classifier
from lpcam.errors import LpcamError, unknown

ReshapeTransform = Callable[[Tensor], Tensor]
"""Takes what a layer gives to [N, C, h, w], such as a transformer's tokens [N, 1 + h·w, C]."""


def find_layer(model: nn.Module, layer: str | nn.Module | None) -> tuple[str, nn.Module]:
    """Return the name and the module of a layer.

    Args:
        model: The user's model.
        layer: One of ``model.named_modules()``, by name or itself. A classifier of `lpcam.load_classifier` has a
            feature layer of its own, so that None or its name will do.

    Raises:
        LpcamError: the model has no such layer.

    >>> find_layer(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), "1")
    ('1', ReLU())
    """
    if isinstance(model, Classifier) and layer in (None, model.layer):
        return model.layer, model.stages[-1]
    modules = dict(model.named_modules())
    if isinstance(layer, nn.Module):
        return _name_of(layer, modules), layer
    if layer is None:
        raise LpcamError("no target_layer is given: name the last layer before the pooling, such as 'layer4'")
    if layer not in modules:
        raise unknown("target layer", layer, filter(None, modules))
    return layer, modules[layer]


def _name_of(layer: nn.Module, modules: dict[str, nn.Module]) -> str:
    for name, module in modules.items():
        if module is layer:
            return name
    raise LpcamError(f"target_layer {type(layer).__name__} is not part of the model: give one of its own modules")


def innermost(model: nn.Module, name: str) -> str:
    """Return the name of the module whose output is that of ``name``: the last one of a sequence, and so on.

    >>> innermost(nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), nn.ReLU())), "1")
    '1.1'
    """
    module = dict(model.named_modules()).get(name)
    if module is None or type(module).forward is not nn.Sequential.forward or not list(module.children()):
        return name
    last = list(module.named_children())[-1][0]
    return innermost(model, f"{name}.{last}" if name else last)


class Tap:
    """Keeps what a layer gives in the latest forward pass, while it is open.

    The output is kept as it is, not copied: a ReLU that follows in place is part of it.

    Attributes:
        name: Of the layer.
        listening: Whether forward passes are noticed.
    """

    def __init__(self, name: str, layer: nn.Module, reshape_transform: ReshapeTransform | None = None) -> None:
        self.name = name
        self.listening = True
        self._layer = layer
        self._reshape = reshape_transform
        self._handles: list[RemovableHandle] = []
        self._output: object = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Hook the layer."""
        self._handles.append(self._layer.register_forward_hook(self._keep))

    def close(self) -> None:
        """Take the hook off the layer and forget what was kept."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forget()

    def forget(self) -> None:
        """Forget the latest forward pass."""
        self._output = None

    def features(self) -> Tensor:
        """Return the features of the latest forward pass: float32 [N, C, h, w], without gradients.

        Raises:
            LpcamError: there was none, or the layer gives something else.
        """
        if self._output is None:
            raise LpcamError(f"layer '{self.name}' was not reached: send images through the model first")
        output = self._output
        if self._reshape is not None:
            output = self._reshape(output)  # type: ignore[arg-type]  # the caller knows what the layer gives
        if not isinstance(output, Tensor) or output.ndim != 4:
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise LpcamError(
                f"layer '{self.name}' gives {found}, not [N, C, h, w]: "
                "choose a layer before the pooling, or give a reshape_transform"
            )
        return output.detach().float()

    def _keep(self, _layer: nn.Module, _inputs: object, output: object) -> None:
        if self.listening:
            self._output = output


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode without gradients; at the end every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
