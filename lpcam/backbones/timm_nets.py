"""The networks of timm (PyTorch Image Models): ``timm/NAME``, with or without timm's tag (``timm/resnet50.a1_in1k``).

timm says of every network how its classifier is taken off and its pooling left out; what then comes out are the
features, of one of three layouts, which a probe without weights tells apart:

    [N, C, h, w]    convolutional networks
    [N, h, w, C]    Swin and its relatives
    [N, T, C]       transformers: prefix tokens (class, distillation, registers) are dropped, patch tokens reshaped
                    to their grid; position embeddings are resampled to the view (timm's ``dynamic_img_size``), and
                    views are rounded to whole patches (`lpcam.backbones.patches`)

Where the network pools by averaging and nothing but the linear layer follows, its logits are kept exactly: mean over
positions of A_k, plus the bias, is the network's own logit of class k.

Departs from the networks as published: what stands between pooling and linear layer (the normalisation of ConvNeXt and
of averaging ViTs, the 1×1 convolution of MobileNet V3, the 7×7 convolution of VGG) is applied at every position. In a
ViT that classifies by its class token, the class weights are applied to the patch tokens, which went through the same
last normalisation. CLIP's attention pooling of ResNets gives every position its own output.

The head of CLIP's image towers is a projection. Class weights with as many columns as it has outputs (text embeddings,
``--head FILE``) are compared where CLIP compares them: every patch token goes through the projection, both sides
are L2-normalised, and CAM is ReLU of their cosine. Class weights with as many columns as a patch token has channels
(a linear probe) multiply the patch tokens as they are.

A network with attention keeps its output stride unless another is asked for. The head of a network with more than that
behind its features (attention pooling of ViTs, a hidden layer, two heads) is refused: its features need class weights
of their own, ``--head FILE``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lpcam.backbones.classifier import Blueprint
from lpcam.backbones.patches import ChannelsFirst, PatchGrid
from lpcam.errors import LpcamError, unknown

_TRUNK = "trunk."
_PROBE = (192, 288)  # px, an image that is not square: shapes tell rows, columns and channels apart
_FEW = 3


@dataclass(frozen=True)
class _Opened:
    """A network of timm without its classifier.

    Attributes:
        model: Gives features before the pooling, in its own layout.
        head: State-dict name of the class weights.
        channels: C, as the class weights have it.
        removed: State-dict names that went with the classifier.
        problem: Why the class weights are no matrix that multiplies the features, if so.
    """

    model: Any
    head: str
    channels: int
    removed: frozenset[str]
    problem: str


def build(name: str) -> Blueprint:
    """Return the blueprint of ``timm/NAME``.

    Raises:
        LpcamError: timm is not installed, knows no such network, or the network gives no map at free image sizes.
    """
    model_name = _known(name)
    with torch.device("meta"):
        opened = _open(model_name)
        trunk = _trunk(opened, name)
    if torch.get_default_device().type != "meta" or _has_constants(opened.model):
        with torch.device("cpu"):  # constants are computed, and the caller may want the initial weights
            opened = _open(model_name)
        trunk = _trunk_like(trunk, opened.model)
    config = opened.model.pretrained_cfg
    return Blueprint(
        nn.ModuleDict({"trunk": trunk}),
        stages=("trunk",),
        head=opened.head,
        stride=32 if _attends(trunk) else 16,
        rename=partial(_canonical_name, opened, _TRUNK if trunk is opened.model else f"{_TRUNK}net."),
        imagenet=partial(_pretrained_tensors, model_name),
        minimum_side=trunk.patch if isinstance(trunk, PatchGrid) else 32,
        mean=config["mean"],
        std=config["std"],
        no_matrix=opened.problem,
        projects="clip" in model_name,
    )


def _known(name: str) -> str:
    model_name = name.partition("/")[2]
    if not _timm().is_model(model_name):
        raise unknown("architecture", name, [f"timm/{known}" for known in _timm().list_models()])
    return model_name


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise LpcamError("timm/NAME needs the package timm: pip install 'lpcam[timm]'") from error


def _open(model_name: str) -> _Opened:
    model = _create(model_name, num_classes=1)
    if not hasattr(model, "get_classifier"):
        raise LpcamError(f"timm/{model_name} has no classifier: choose another, such as timm/resnet50")
    before = set(model.state_dict())
    classifier, head = model.get_classifier(), _head_name(model)
    _drop_classifier(model)
    removed = before - set(model.state_dict())
    extra = {key for key in removed if not key.startswith(head.removesuffix("weight"))}
    problem = _problem(classifier, extra)
    channels = model.num_features if problem else classifier.weight.shape[1]
    return _Opened(model.eval(), head or "head.weight", channels, frozenset(removed), problem)


def _create(model_name: str, **options: Any) -> Any:
    """Create a network of timm, one that takes images of any size where timm offers that."""
    create = _timm().create_model
    model = create(model_name, **options)
    if not any("dynamic_img_size" in inspect.signature(kind).parameters for kind in type(model).__mro__[:-1]):
        return model
    return create(model_name, **options, dynamic_img_size=True)


def _head_name(model: Any) -> str:
    """Return the state-dict name of the classifier's weights, empty where there is more than one classifier."""
    classifier = model.get_classifier()
    names = [name for name, module in model.named_modules() if module is classifier]
    return f"{names[0]}.weight" if names else ""


def _drop_classifier(model: Any) -> None:
    """Leave classifier and pooling out, so that the network gives its features at every position."""
    with contextlib.suppress(AssertionError):  # some refuse to do without a pooling; the probe then finds no map
        model.reset_classifier(0, "")
    if isinstance(model, _timm().models.VGG):  # its 7×7 convolution would drop three positions at every border
        model.pre_logits.fc1.padding = (3, 3)


def _problem(classifier: Any, extra: Collection[str]) -> str:
    if isinstance(classifier, tuple):
        return f"it has {len(classifier)} heads"
    if not isinstance(classifier, nn.Linear | nn.Conv2d):
        return f"its head is a {type(classifier).__name__}, not one linear layer"
    if extra:
        return f"its head holds more than one linear layer ({', '.join(sorted(extra)[:_FEW])}, …)"
    return ""


def _trunk(opened: _Opened, name: str) -> nn.Module:
    """Return the module that gives a feature map: the network itself, or one around it.

    Raises:
        LpcamError: the features keep no grid, or the network takes images of one size only.
    """
    model = opened.model
    patch = _patch(model)
    shape, size = _probed(model, patch, name)
    if len(shape) == 3 and shape[1] - _prefix_tokens(model) == math.prod(size):
        return PatchGrid(model, patch, _prefix_tokens(model))
    if len(shape) == 4 and shape[1] == opened.channels:
        return model  # type: ignore[no-any-return]
    if len(shape) == 4 and shape[3] == opened.channels:
        return ChannelsFirst(model, patch)
    raise LpcamError(f"{name} gives no map of local features: choose another, such as timm/resnet50")


def _trunk_like(trunk: nn.Module, model: nn.Module) -> nn.Module:
    if isinstance(trunk, PatchGrid):
        return PatchGrid(model, trunk.patch, trunk.prefix_tokens)
    return ChannelsFirst(model, trunk.patch) if isinstance(trunk, ChannelsFirst) else model


def _patch(model: Any) -> int:
    embedding: Any = getattr(model, "patch_embed", None)
    if hasattr(embedding, "feat_ratio"):
        return int(embedding.feat_ratio())
    size = getattr(embedding, "patch_size", 16)
    return size if isinstance(size, int) else int(size[0])


def _probed(model: nn.Module, patch: int, name: str) -> tuple[torch.Size, tuple[int, int]]:
    """Return the shape of the features of an image that is not square, and how many patches that image has.

    Networks that return several tensors have features without a shape.
    """
    rows, columns = (max(round(side / patch), 2) for side in _PROBE)
    try:
        found = model(torch.empty(1, 3, rows * patch, columns * patch))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise LpcamError(
            f"{name} takes images of one size only ({str(error).partition(chr(10))[0]}): "
            "choose a network for any size, such as timm/resnet50 or timm/vit_base_patch16_224"
        ) from error
    return found.shape if isinstance(found, Tensor) else torch.Size(), (rows, columns)


def _prefix_tokens(model: Any) -> int:
    return getattr(model, "num_prefix_tokens", 0)


def _attends(trunk: nn.Module) -> bool:
    """Return whether there is attention in the network, which a denser grid than it was trained with would upset."""
    return any(hasattr(module, "num_heads") for module in trunk.modules())


def _has_constants(model: nn.Module) -> bool:
    """Return whether the network holds tensors that are in no checkpoint."""
    return not {name for name, _ in model.named_buffers()} <= set(model.state_dict())


def _canonical_name(opened: _Opened, prefix: str, key: str) -> str | None:
    """Put the trunk's keys under ``prefix``; a name that is canonical already stays."""
    if key.startswith((_TRUNK, opened.head.removesuffix("weight"))):
        return key
    return None if key in opened.removed else prefix + key


def _pretrained_tensors(model_name: str) -> dict[str, Tensor]:
    """Return timm's own weights, head included, downloaded once into its cache."""
    try:
        return dict(_create(model_name, pretrained=True).state_dict())
    except (OSError, RuntimeError) as error:  # offline, gone, or no weights of that name
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise LpcamError(
            f"cannot get timm's weights of {model_name} ({reason}): "
            "save model.state_dict() where there is a network and give the file to --weights"
        ) from error
