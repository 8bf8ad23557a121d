"""From the name of an architecture and a checkpoint to a frozen classifier."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones import checkpoints
from lpcam.backbones.checkpoints import Tensors
from lpcam.backbones.classifier import Blueprint, Builder, Classifier, Projection, stages_up_to
from lpcam.backbones.dense import make_dense, output_shape
from lpcam.backbones.extras import Extras, extras_of, without_extras
from lpcam.backbones.levels import levels_before_last
from lpcam.backbones.trunk import Trunk
from lpcam.errors import LpcamError, unknown

_BUILDERS = {  # the module whose build() makes the architecture; "family/NAME" by its family
    "demo": "lpcam.backbones.demo",
    "mctformer": "lpcam.backbones.mctformer",
    "resnet38d": "lpcam.backbones.resnet38d",
    "resnet50": "lpcam.backbones.resnet50",
    "timm": "lpcam.backbones.timm_nets",
    "torchvision": "lpcam.backbones.torchvision_nets",
}
_FAMILIES = ("timm", "torchvision")
_STRIDES = (8, 16, 32)
Network = TypeVar("Network", bound=nn.Module)

_LOG = logging.getLogger(__name__)


def load_classifier(
    arch: str,
    weights: str | Path,
    *,
    num_classes: int | None = None,
    stride: int | None = None,
    layer: str | None = None,
    head: Path | None = None,
    device: str = "cpu",
) -> Classifier:
    """Load a pretrained classifier as (features, class weights).

    Args:
        arch: ``resnet50`` (IRN family), ``resnet38d`` (PSA, SEAM, EDAM), ``mctformer``, ``torchvision/NAME``,
            ``timm/NAME`` or ``demo``.
        weights: A checkpoint file, or ``imagenet`` for torchvision's or timm's own weights (downloaded once).
        num_classes: K, if it must be so; else the head says it.
        stride: Output stride 8, 16 or 32 px: the last stages are made dense (``lpcam.backbones.dense``). By
            default the architecture's own choice, 16 for most.
        layer: Module whose output the features are; by default the last before the pooling.
        head: File with class weights [K, C] in place of the checkpoint's, whose head may then be of any
            other data set, or absent. For image towers of CLIP also text embeddings [K, D], see
            `lpcam.backbones.timm_nets`.
        device: As torch names it.

    Raises:
        LpcamError: an architecture, layer or stride that does not exist; a checkpoint or head that cannot be
            read, does not fit, or is not finite; another number of classes; a device that is not there.
    """
    blueprint = _blueprint(arch)
    layer = _known_layer(blueprint, layer)
    blueprint = _with_levels(blueprint, layer)
    channels, stride = _with_stride(blueprint, layer, stride)
    source, given = _given_tensors(blueprint, weights)
    tensors = checkpoints.canonical(without_extras(given), blueprint.rename, source)
    extras = _extras(blueprint, layer, given, channels, source)
    blueprint.adapt(blueprint.network, tensors)
    trunk = checkpoints.fit(_without_head(blueprint, tensors), _trunk_shapes(blueprint), source, arch)
    matrix = checkpoints.read_head(head) if head else _own_head(blueprint, tensors, source, num_classes)
    projection = _projection(blueprint, layer, tensors, matrix, channels)
    if projection is not None:
        blueprint, layer, channels, matrix = _projected(blueprint, projection, matrix)
        trunk |= projection.state_dict(prefix=f"{layer}.")
    _require_fit(matrix, num_classes, channels, layer)
    _require_kinds(blueprint, trunk, source)
    _fill(blueprint, trunk)
    sha256 = checkpoints.fingerprint({**trunk, blueprint.head: matrix, **extras.tensors()})
    net = _on_device(Classifier(arch, blueprint, layer, stride, matrix, sha256, extras), device)
    _LOG.info("%s from %s on %s: K=%d classes, %s", arch, source, device, net.num_classes, _seen_as(net))
    return net


def load_trunk(
    arch: str, weights: str | Path | None, *, stride: int | None = None, seed: int = 0, device: str = "cpu"
) -> Trunk:
    """Load an architecture without its head, to be trained.

    Args:
        arch: As `load_classifier` takes it.
        weights: A checkpoint file with or without a head, ``imagenet``, or None for the architecture's own random
            initial weights.
        stride: Output stride, as in `load_classifier`.
        seed: Of the initial weights; PyTorch's global generator is left as it was.
        device: As torch names it.

    Raises:
        LpcamError: as `load_classifier`, heads aside.
    """
    blueprint = _blueprint(arch)
    blueprint = _with_levels(blueprint, blueprint.stages[-1])
    channels, stride = _with_stride(blueprint, blueprint.stages[-1], stride)
    if weights is None:
        _fill(blueprint, _initial_tensors(arch, blueprint, seed))
    else:
        source, given = _given_tensors(blueprint, weights)
        named = _without_head(blueprint, checkpoints.canonical(without_extras(given), blueprint.rename, source))
        trunk = checkpoints.fit(named, _trunk_shapes(blueprint), source, arch)
        _require_kinds(blueprint, trunk, source)
        _fill(blueprint, trunk)
    return _on_device(Trunk(arch, blueprint, channels, stride), device)


def known_architectures() -> list[str]:
    """Return every name ``load_classifier`` takes, sorted; timm's, a thousand and more, stand as ``timm/NAME``."""
    return sorted([*own_architectures(), "timm/NAME", *torchvision_names()])


def own_architectures() -> list[str]:
    """Return the names of ``load_classifier`` that are no family of another package, sorted.

    >>> own_architectures()
    ['demo', 'mctformer', 'resnet38d', 'resnet50']
    """
    return sorted(name for name in _BUILDERS if name not in _FAMILIES)


def torchvision_names() -> list[str]:
    """Return ``torchvision/NAME`` of every network of torchvision that can be used, sorted."""
    from lpcam.backbones.torchvision_nets import names  # torchvision is imported when one of its names is asked for

    return names()


def misfits(arch: str, tensors: Tensors, source: str) -> list[str]:
    """Return how the names and shapes of a checkpoint differ from an architecture's, in words, heads aside.

    Args:
        arch: As ``load_classifier`` takes it.
        tensors: By the checkpoint's names.
        source: Where they come from, for messages.

    Returns:
        What is missing, unexpected and of another shape, a line each; nothing where the checkpoint is of it.

    Raises:
        LpcamError: it holds two different tensors for one of the architecture's names.
    """
    blueprint = _blueprint(arch)
    named = checkpoints.canonical(without_extras(tensors), blueprint.rename, source)
    blueprint.adapt(blueprint.network, named)
    return checkpoints.differences(_without_head(blueprint, named), _trunk_shapes(blueprint))


def features_of(arch: str) -> tuple[int, int]:
    """Return C and the output stride of an architecture, without its weights.

    >>> features_of("resnet50")
    (2048, 16)
    """
    blueprint = _blueprint(arch)
    return _with_stride(blueprint, blueprint.stages[-1], None)


def untrained(arch: str, stride: int | None = None) -> tuple[Blueprint, int]:
    """Return an architecture on torch's ``meta`` device, where shapes are computed and nothing else, and its C.

    Raises:
        LpcamError: architecture or stride do not exist.
    """
    blueprint = _blueprint(arch)
    return blueprint, _with_stride(blueprint, blueprint.stages[-1], stride)[0]


def _blueprint(arch: str) -> Blueprint:
    family, slash, _ = arch.partition("/")
    if family not in _BUILDERS or bool(slash) != (family in _FAMILIES):
        raise unknown("architecture", arch, known_architectures())
    build = _builder(arch)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # without initial weights, or the caller's seed
        blueprint = build(arch)
    constants = _constants(blueprint.network)
    blueprint.network.to("meta").eval()
    return replace(blueprint, constants=constants)


def _constants(network: nn.Module) -> Tensors:
    """Return the buffers that are in no state dict: the network computed them when it was built."""
    saved = network.state_dict()
    return {name: buffer for name, buffer in network.named_buffers() if name not in saved}


def _builder(arch: str) -> Builder:
    build: Builder = importlib.import_module(_BUILDERS[arch.partition("/")[0]]).build
    return build


def _initial_tensors(arch: str, blueprint: Blueprint, seed: int) -> Tensors:
    """Return the weights that the architecture's own initialisers draw."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        state = _builder(arch)(arch).network.state_dict()
    return {name: state[name] for name in _trunk_shapes(blueprint)}


def _known_layer(blueprint: Blueprint, layer: str | None) -> str:
    if layer is None:
        return blueprint.stages[-1]
    if layer not in blueprint.stages:
        raise unknown("layer", layer, blueprint.stages)
    return layer


def _with_levels(blueprint: Blueprint, layer: str) -> Blueprint:
    """Say where the levels end; to be asked before the network is made dense."""
    return replace(blueprint, levels=levels_before_last(stages_up_to(blueprint, layer)))


def _with_stride(blueprint: Blueprint, layer: str, stride: int | None) -> tuple[int, int]:
    """Make the network dense; return C and the output stride at ``layer``."""
    stages = stages_up_to(blueprint, layer)
    channels, coarsest = output_shape(stages)
    if stride is not None and stride not in (*_STRIDES, coarsest):
        raise LpcamError(f"output stride {stride} is not possible: give --stride 8, 16 or 32")
    if stride is not None and stride > coarsest:
        raise LpcamError(f"layer '{layer}' has output stride {coarsest}, not {stride}: give --stride {coarsest}")
    wanted = stride or blueprint.stride
    if wanted >= coarsest:
        return channels, coarsest
    try:
        make_dense(stages, wanted)
        channels, reached = output_shape(stages)
    except RuntimeError as error:  # branches whose grids no longer meet
        raise LpcamError(f"output stride {wanted} is not possible here: give --stride {coarsest}") from error
    if stride is not None and stride != reached:
        raise LpcamError(f"output stride {stride} is not possible here: give --stride {reached}, or leave it out")
    return channels, reached


def _given_tensors(blueprint: Blueprint, weights: str | Path) -> tuple[str, Tensors]:
    """Return where the weights come from, for messages, and the tensors by the names they have there."""
    if str(weights) == "imagenet":
        return "imagenet", _imagenet_tensors(blueprint)
    return str(weights), checkpoints.read_checkpoint(Path(weights))


def _extras(blueprint: Blueprint, layer: str, given: Tensors, channels: int, source: str) -> Extras:
    """Return what a checkpoint holds beside the classifier; it is of the last layer, and of no other."""
    if layer != blueprint.stages[-1]:
        return Extras()
    return extras_of(given, (*(level.channels for level in blueprint.levels), channels), source)


def _imagenet_tensors(blueprint: Blueprint) -> Tensors:
    if blueprint.imagenet is None:
        raise LpcamError("this architecture has no ImageNet weights: give --weights a checkpoint file")
    return blueprint.imagenet()


def _without_head(blueprint: Blueprint, tensors: Tensors) -> Tensors:
    prefixes = tuple(name.removesuffix("weight") for name in (blueprint.head, *blueprint.other_heads))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}


def _trunk_shapes(blueprint: Blueprint) -> dict[str, torch.Size]:
    wanted = _without_head(blueprint, blueprint.network.state_dict())
    return {name: tensor.shape for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")}


def _own_head(blueprint: Blueprint, tensors: Tensors, source: str, num_classes: int | None) -> Tensor:
    if blueprint.no_matrix:
        raise LpcamError(
            f"the head of this architecture cannot weigh its features ({blueprint.no_matrix}): "
            "give class weights for its features with --head FILE"
        )
    there = [name for name in (blueprint.head, *blueprint.other_heads) if name in tensors]
    if not there:
        raise LpcamError(f"{source} has no class weights '{blueprint.head}': give them with --head FILE")
    return checkpoints.class_weights(blueprint.matrix(tensors[there[0]], num_classes), source)


def _projection(blueprint: Blueprint, layer: str, tensors: Tensors, matrix: Tensor, channels: int) -> Projection | None:
    """Return the head as a projection where class weights are of the space it leads to, and not of the features'."""
    own = tensors.get(blueprint.head)
    columns = matrix.shape[1]
    if not blueprint.projects or layer != blueprint.stages[-1] or own is None or columns == channels:
        return None
    weight = checkpoints.class_weights(own, "the projection")
    if weight.shape != (columns, channels):
        raise LpcamError(
            f"--head has {columns} columns: give {weight.shape[0]} (text embeddings, compared after the projection) "
            f"or {channels} (a probe of the patch tokens)"
        )
    bias = tensors.get(f"{blueprint.head.removesuffix('weight')}bias", torch.zeros(len(weight)))
    return Projection(weight, checkpoints.finite(bias, "the projection's bias"))


def _projected(blueprint: Blueprint, projection: Projection, matrix: Tensor) -> tuple[Blueprint, str, int, Tensor]:
    """Put the projection behind the features; return its blueprint, layer, C, and the class weights at length 1."""
    layer = "projection"
    blueprint.network.add_module(layer, projection)
    stages = (*blueprint.stages, layer)
    return replace(blueprint, stages=stages), layer, len(projection.weight), F.normalize(matrix, dim=1)


def _require_fit(matrix: Tensor, num_classes: int | None, channels: int, layer: str) -> None:
    if num_classes is not None and matrix.shape[0] != num_classes:
        raise LpcamError(
            f"the class weights are for {matrix.shape[0]} classes, the data set has {num_classes}: "
            "name the head's own with --classes FILE, or give another --head"
        )
    if matrix.shape[1] != channels:
        raise LpcamError(
            f"the class weights are for {matrix.shape[1]} channels, layer '{layer}' has {channels}: "
            "give another --layer or --head"
        )


def _seen_as(net: Classifier) -> str:
    return f"C={net.channels} channels of layer {net.layer} at stride {net.stride}, sha256 {net.sha256[:12]}"


def _require_kinds(blueprint: Blueprint, trunk: Tensors, source: str) -> None:
    """Refuse whole numbers where the network has real ones, and real ones where it has whole ones (index tables)."""
    state = blueprint.network.state_dict()
    for name, tensor in trunk.items():
        if name in state and state[name].is_floating_point() != tensor.is_floating_point():
            raise LpcamError(
                f"{source} has {tensor.dtype} for {name}, the network {state[name].dtype}: "
                "take the checkpoint that was trained, not one that was quantised"
            )


def _fill(blueprint: Blueprint, trunk: Tensors) -> None:
    network = blueprint.network
    state = network.state_dict()  # keeps the version numbers some modules ask for
    for name in state:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.long)
    state.update(trunk)
    network.load_state_dict(state, assign=True)
    for name, buffer in blueprint.constants.items():
        owner, _, attribute = name.rpartition(".")
        network.get_submodule(owner).register_buffer(attribute, buffer, persistent=False)


def _on_device(network: Network, device: str) -> Network:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by build
        reason = str(error).partition("\n")[0]
        raise LpcamError(f"cannot use device '{device}' ({reason}): give --device cpu") from error
