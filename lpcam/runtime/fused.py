"""torch's own kernels on the CPU, with less to do: what stands around a convolution becomes part of it.

    batch norm      its factors go into the weights, γ / √(σ² + ε) times, and its shift into the bias
    + shortcut      added while the convolution writes, and so
    ReLU            spare two readings and writings of a grid
    3×3             by Winograd's products where there are channels enough, see `lpcam.runtime.winograd`

The convolutions are oneDNN's, as torch's are, by the operators that torch.compile puts in their place. torch.fx follows
the network once; only float32 on a CPU with oneDNN has anything to gain. The features differ from torch's by rounding.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lpcam.backbones.classifier import Classifier
from lpcam.backbones.levels import features_at
from lpcam.errors import LpcamError
from lpcam.runtime.equality import LevelsNetwork, require_equal
from lpcam.runtime.winograd import WinogradConvolution, applies

Ending = tuple[str, list[float], str]
"""What a convolution ends in, as oneDNN's operators name it: a function, its numbers, its algorithm."""

_NONE: Ending = ("none", [], "")
_RELU: Ending = ("relu", [], "")
_ENDINGS: dict[type, Ending] = {
    nn.ReLU: _RELU,
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
}
_RELUS, _SUMS = {F.relu, torch.relu, "relu", "relu_"}, {operator.add, operator.iadd, torch.add, "add", "add_"}

_TOLERANCE = 1e-4  # of the largest feature

_LOG = logging.getLogger(__name__)


def fused_network(classifier: Classifier, precision: str) -> LevelsNetwork | None:
    """Return the classifier's network with its convolutions fused, or None where torch carries it out as it is.

    That is on other devices and in other precisions, where torch was built without oneDNN, where torch.fx cannot follow
    the network, and where there is nothing to fuse. All levels are given, as they are there anyway: so there is one
    copy of the fused weights.

    Args:
        classifier: On its device; left as it is.
        precision: Of the forward passes.
    """
    device = classifier.class_weights.device
    if device.type != "cpu" or precision != "float32" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        network = fused(_Levels(classifier))
        if network is not None:
            require_equal(network, classifier, "torch", _TOLERANCE)
    except LpcamError:
        _LOG.warning("'%s' would have other features when fused: it is carried out as it is", classifier.arch)
    except Exception as error:  # whatever a network raises that is handed no numbers
        _LOG.info("'%s' is carried out as it is: %s", classifier.arch, " ".join(str(error).split())[:200])
    else:
        return network
    return None


def fused(network: nn.Module) -> fx.GraphModule | None:
    """Return a network of the same function with fused convolutions, None where it has none that could be.

    Args:
        network: In eval mode, its weights on the CPU and frozen; left as it is; tensors are shared where they can be.

    Raises:
        Exception: torch.fx cannot follow the network; of many kinds.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval().requires_grad_(False)
    >>> [type(module).__name__ for module in fused(net).children()]
    ['FusedConvolution']
    """
    prepared = _prepared(network)
    traced = fx.GraphModule(prepared, _Tracer().trace(prepared))
    modules = dict(traced.named_modules())
    chains = [_chain(node, modules) for node in traced.graph.nodes if _can_fuse(node, modules)]
    found = [(chain, module) for chain in chains if (module := _module(chain, modules)) is not None]
    for index, (chain, module) in enumerate(found):
        _replace(traced, chain, module, f"fused_{index}")
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced if found else None


class FusedConvolution(nn.Module):
    """A convolution by oneDNN with what follows it: a sum with another grid, and an activation.

    >>> conv = nn.Conv2d(2, 3, 3, padding=1, stride=2)
    >>> grid = torch.arange(70.0).view(1, 2, 5, 7)
    >>> with torch.no_grad():
    ...     torch.allclose(FusedConvolution(conv, ("relu", [], ""))(grid), conv(grid).relu(), atol=1e-5)
    True
    """

    def __init__(self, conv: nn.Conv2d, ending: Ending = _NONE) -> None:
        """Take the weights of a convolution whose padding is of zeros, given in numbers."""
        super().__init__()
        form = [list(map(int, values)) for values in (conv.padding, conv.stride, conv.dilation)]
        self._form: tuple[Any, ...] = (*form, conv.groups)
        self._weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._ending = ending

    def forward(self, grid: Tensor, other: Tensor | None = None) -> Tensor:
        """Return float32 [N, C', h', w'] of grids [N, C, h, w] and what is added to them."""
        weights, convolve = (self._weight, self._bias, *self._form), torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return convolve.default(grid, *weights, *self._ending)  # type: ignore[no-any-return]
        ending = (None, [], None) if self._ending == _NONE else self._ending
        return convolve.binary(grid, other, *weights, "add", 1.0, *ending)  # type: ignore[no-any-return]


class _Levels(nn.Module):
    """A classifier's network as one module, which gives the features of every level."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._stages, self._before_last = classifier.stages, classifier.levels_before_last

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return features_at(self._before_last, self._stages, images)


@dataclass(frozen=True)
class _Chain:
    """A convolution in the graph and what follows it.

    Attributes:
        conv: The convolution.
        norm: Its batch norm.
        total: The sum that it ends in.
        activation: Of the sum, or of what is there of the others.
    """

    conv: fx.Node
    norm: fx.Node | None
    total: fx.Node | None
    activation: fx.Node | None

    @property
    def nodes(self) -> list[fx.Node]:
        """Those that are there, in order."""
        return [node for node in (self.conv, self.norm, self.total, self.activation) if node is not None]


class _Tracer(fx.Tracer):
    """Follows modules that hold others; one that holds none is a step, whatever it does by the sizes it sees."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        alone = not list(module.children()) and not isinstance(module, nn.Sequential)  # an empty one is no step
        return alone or super().is_leaf_module(module, name)


def _prepared(network: nn.Module) -> nn.Module:
    """Return a copy of the modules, with the same tensors, in which timm's norms with an activation are two modules.

    A copy, because a module may keep what it sees of a forward pass, and torch.fx shows it no numbers.
    """
    tensors = (*network.parameters(), *network.buffers())
    prepared = deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for parent in list(prepared.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "BatchNormAct2d" and type(child.drop) is nn.Identity:
                setattr(parent, name, _apart(child))
    return prepared


def _apart(child: Any) -> nn.Module:
    norm = nn.BatchNorm2d(child.num_features, child.eps, affine=child.affine, device="meta").eval()
    norm.load_state_dict(child.state_dict(), strict=False, assign=True)
    norm.requires_grad_(False)
    return norm if type(child.act) is nn.Identity else nn.Sequential(norm, child.act)


def _can_fuse(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    conv = _module_of(node, modules)
    return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _chain(conv: fx.Node, modules: Mapping[str, nn.Module]) -> _Chain:
    """Return what follows a convolution and nothing else asks for.

    A sum counts where it follows at once: then its other term is there already, and nothing in between changes, in
    place, what the convolution reads.
    """
    norm = _then(conv, lambda node: _is_norm(_module_of(node, modules)))
    last = norm or conv
    total = _then(last, _is_sum) if last.next in last.users and last in (conv, conv.next) else None
    endings = (_RELU,) if total else tuple(_ENDINGS.values())
    activation = _then(total or last, lambda node: _ending(node, modules) in endings)
    return _Chain(conv, norm, total, activation)


def _then(node: fx.Node, accepts: Callable[[fx.Node], bool]) -> fx.Node | None:
    """Return the only user of a node, where it is accepted."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].args.count(node) == 1 and accepts(users[0]) else None


def _is_sum(node: fx.Node) -> bool:
    terms = node.args
    return node.target in _SUMS and not node.kwargs and len(terms) == 2 and all(isinstance(t, fx.Node) for t in terms)


def _is_norm(module: Any) -> bool:
    """Return whether a module is a batch norm in eval mode, by its class or by what it makes of some numbers.

    IRN's FixedBatchNorm and torchvision's FrozenBatchNorm2d name their numbers as torch does.
    """
    if type(module) is nn.BatchNorm2d:
        return True
    names = ("running_mean", "running_var", "weight", "bias", "eps")
    if any(getattr(module, name, None) is None for name in names):
        return False
    numbers = (module.running_mean, module.running_var, module.weight, module.bias)
    grid = torch.tensor([-9.0, -1.0, 1.0, 9.0]).expand(1, len(numbers[0]), 1, 4)
    found = deepcopy(module)(grid)  # which may count what it sees
    return torch.allclose(found, F.batch_norm(grid, *numbers, eps=module.eps), rtol=1e-5, atol=1e-5)


def _ending(node: fx.Node, modules: Mapping[str, nn.Module]) -> Ending | None:
    if node.op == "call_module":
        return _ENDINGS.get(type(_module_of(node, modules)))
    return _RELU if node.target in _RELUS else None


def _module_of(node: fx.Node, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    """Return the module that a node calls with one grid and nothing else; none that is watched by hooks."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    module = modules[str(node.target)]
    return None if module._forward_hooks or module._forward_pre_hooks else module


def _module(chain: _Chain, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    """Return what takes the place of a chain, None where a convolution stands alone and is as well left."""
    conv: Any = _module_of(chain.conv, modules)
    norm: Any = chain.norm and _module_of(chain.norm, modules)
    if norm is not None:
        conv = fuse_conv_bn_eval(conv, norm)
    ending = (chain.activation and _ending(chain.activation, modules)) or _NONE
    if ending in (_NONE, _RELU) and applies(conv):
        return WinogradConvolution(conv, relu=ending == _RELU)
    return FusedConvolution(conv, ending) if len(chain.nodes) > 1 else None


def _replace(traced: fx.GraphModule, chain: _Chain, module: nn.Module, name: str) -> None:
    traced.add_module(name, module)
    others = [] if chain.total is None else [term for term in chain.total.args if term not in chain.nodes]
    with traced.graph.inserting_before(chain.conv):
        replacement = traced.graph.call_module(name, (chain.conv.args[0], *others))
    chain.nodes[-1].replace_all_uses_with(replacement)
    for node in reversed(chain.nodes):
        traced.graph.erase_node(node)
