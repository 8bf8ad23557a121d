"""The classification networks of torchvision: ``torchvision/NAME``.

Each family says which of its modules lead to the feature map and where its class weights lie. Families whose
head is one linear layer on the globally averaged feature map (all but the last four) keep their logits
exactly: mean over positions of A_k, plus the bias, is the network's own logit of class k.

    family                            features end after            class weights
    ResNet, ResNeXt, Wide ResNet      layer4 (ReLU)                 fc
    RegNet                            trunk_output.block4 (ReLU)    fc
    ShuffleNet V2                     conv5 (ReLU)                  fc
    MobileNet V2, EfficientNet (V2)   last of features (ReLU6, SiLU)  classifier.1
    MNASNet                           last of layers (ReLU)         classifier.1
    Swin, Swin V2                     norm (LayerNorm)              head
    DenseNet                          ReLU after features.norm5     classifier
    MobileNet V3                      classifier.1 (Hardswish)      classifier.3
    ConvNeXt                          classifier.0 (LayerNorm)      classifier.2
    VGG                               classifier.4 (ReLU)           classifier.6
    ViT                               encoder.ln (LayerNorm)        heads.head

Departs from the networks as published: in MobileNet V3, ConvNeXt and VGG the layers between pooling and the last linear
layer are applied at every position instead of to the pooled vector. MobileNet V3's hidden linear layer becomes a 1×1
convolution, ConvNeXt's normalisation runs over channels, VGG's fc6 and fc7 become a 7×7 convolution with padding 3 and
a 1×1 convolution. On a feature map of one position (VGG: at the centre of a 7×7 map) the logits are the network's own.
In ViT, which classifies by its class token, the class weights are applied to the patch tokens, which went through
the same last normalisation; position embeddings are resampled to the view.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torchvision import models  # type: ignore[import-untyped]

from lpcam.backbones.classifier import Blueprint, same_name
from lpcam.backbones.patches import PatchGrid, with_positions
from lpcam.errors import LpcamError, unknown

_COMPUTING = ("regnet_", "swin_v2_")  # they compute with tensors while they are built

Family = Callable[[nn.Module], tuple[tuple[str, ...], str]]
"""Prepares a network for dense use; returns its stages and the name of its class weights."""


def build(name: str) -> Blueprint:
    """Return the blueprint of ``torchvision/NAME``.

    Raises:
        LpcamError: it is none of ``names()``.
    """
    if name not in names():
        raise unknown("architecture", name, names())
    model = name.partition("/")[2]
    if model.startswith("vit_"):
        return _vit(model)
    with torch.device("cpu") if model.startswith(_COMPUTING) else nullcontext():
        network = models.get_model(model, weights=None, num_classes=1)
    stages, head = _family(model)(network)
    rename = _densenet_name if model.startswith("densenet") else same_name
    return Blueprint(network, stages, head, rename=rename, imagenet=partial(imagenet_tensors, model))


def names() -> list[str]:
    """Return ``torchvision/NAME`` of every network that can be used, sorted.

    >>> "torchvision/mobilenet_v2" in names()
    True
    """
    every = models.list_models(module=models)
    return sorted(f"torchvision/{name}" for name in every if name.startswith((*_FAMILIES, "vit_")))


def imagenet_tensors(model: str) -> dict[str, Tensor]:
    """Return torchvision's best ImageNet weights of ``model``, downloaded once into torch's cache.

    Raises:
        LpcamError: they are neither in the cache nor can they be downloaded.
    """
    best = models.get_model_weights(model)["DEFAULT"]
    try:
        return dict(best.get_state_dict(progress=False, map_location="cpu", weights_only=True))
    except OSError as error:  # urllib's errors are OSErrors
        raise LpcamError(
            f"cannot download the ImageNet weights ({error}): fetch {best.url} elsewhere and give the file to --weights"
        ) from error


def _family(model: str) -> Family:
    return next(family for prefix, family in _FAMILIES.items() if model.startswith(prefix))


def _resnet(_network: nn.Module) -> tuple[tuple[str, ...], str]:
    return ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"), "fc.weight"


def _regnet(network: nn.Module) -> tuple[tuple[str, ...], str]:
    return ("stem", *_children(network, "trunk_output")), "fc.weight"


def _shufflenet(_network: nn.Module) -> tuple[tuple[str, ...], str]:
    return ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"), "fc.weight"


def _mobilenet_v2(network: nn.Module) -> tuple[tuple[str, ...], str]:
    return _children(network, "features"), "classifier.1.weight"


def _mnasnet(network: nn.Module) -> tuple[tuple[str, ...], str]:
    return _children(network, "layers"), "classifier.1.weight"


def _densenet(network: nn.Module) -> tuple[tuple[str, ...], str]:
    network.add_module("relu", nn.ReLU(inplace=True))  # a function call in torchvision's forward
    return (*_children(network, "features"), "relu"), "classifier.weight"


def _mobilenet_v3(network: nn.Module) -> tuple[tuple[str, ...], str]:
    _convolve(network, "classifier.0", kernel=1)
    return (*_children(network, "features"), "classifier.0", "classifier.1"), "classifier.3.weight"


def _convnext(network: nn.Module) -> tuple[tuple[str, ...], str]:
    return (*_children(network, "features"), "classifier.0"), "classifier.2.weight"


def _vgg(network: nn.Module) -> tuple[tuple[str, ...], str]:
    _convolve(network, "classifier.0", kernel=7)
    _convolve(network, "classifier.3", kernel=1)
    dense_head = tuple(f"classifier.{index}" for index in (0, 1, 3, 4))  # 2 and 5 are dropout
    return (*_children(network, "features"), *dense_head), "classifier.6.weight"


def _swin(network: nn.Module) -> tuple[tuple[str, ...], str]:
    return (*_children(network, "features"), "norm", "permute"), "head.weight"


_FAMILIES: dict[str, Family] = {
    "convnext_": _convnext,
    "densenet": _densenet,
    "efficientnet_": _mobilenet_v2,
    "mnasnet": _mnasnet,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3": _mobilenet_v3,
    "regnet_": _regnet,
    "resnet": _resnet,
    "resnext": _resnet,
    "shufflenet_v2": _shufflenet,
    "swin_": _swin,
    "vgg": _vgg,
    "wide_resnet": _resnet,
}


def _children(network: nn.Module, parent: str) -> tuple[str, ...]:
    return tuple(f"{parent}.{name}" for name, _ in network.get_submodule(parent).named_children())


def _convolve(network: nn.Module, path: str, kernel: int) -> None:
    """Replace a linear layer by the convolution that applies it at every position."""
    linear = network.get_submodule(path)
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"expected a linear layer at {path}, got {type(linear).__name__}")
    parent, _, name = path.rpartition(".")
    channels = linear.in_features // kernel**2
    convolution = nn.Conv2d(channels, linear.out_features, kernel, padding=kernel // 2)
    network.get_submodule(parent).register_module(name, convolution)


_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def _densenet_name(key: str) -> str:
    """Take the names of torchvision's own files (``norm.1``) to those of its modules (``norm1``)."""
    return _OLD_DENSENET.sub(r"\1\2", key)


_VIT_TRUNK = "trunk.net."


class _Tokens(nn.Module):
    """A ViT of torchvision up to its last normalisation, for images of any size."""

    def __init__(self, vit: models.VisionTransformer) -> None:
        super().__init__()
        self.conv_proj, self.class_token, self.encoder = vit.conv_proj, vit.class_token, vit.encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens [N, 1 + h·w, C], class token first."""
        encoder = self.encoder
        tokens = with_positions(self.conv_proj(images), encoder.pos_embedding, self.class_token)
        encoded: Tensor = encoder.ln(encoder.layers(encoder.dropout(tokens)))
        return encoded


def _vit(model: str) -> Blueprint:
    network = models.get_model(model, weights=None, num_classes=1)
    trunk = PatchGrid(_Tokens(network), network.patch_size, prefix_tokens=1)
    return Blueprint(
        nn.ModuleDict({"trunk": trunk}),
        ("trunk",),
        "heads.head.weight",
        rename=_vit_name,
        imagenet=partial(imagenet_tensors, model),
        minimum_side=network.patch_size,
        adapt=_with_positions,
    )


def _with_positions(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Take room for the position embedding of the checkpoint, which may be of larger images."""
    positions = tensors.get(f"{_VIT_TRUNK}encoder.pos_embedding")
    if positions is not None:
        like = next(network.parameters())
        network.get_submodule("trunk.net.encoder").pos_embedding = nn.Parameter(like.new_zeros(positions.shape))


def _vit_name(key: str) -> str:
    return key if key.startswith(("heads.", _VIT_TRUNK)) else _VIT_TRUNK + key
