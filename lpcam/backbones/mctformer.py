"""MCTformer V2: DeiT-S with one class token a class, and a 3×3 convolution over its patch tokens.

    cls_token [1, K, 384]             K class tokens before the patch tokens
    pos_embed [1, K + 196, 384]       position embedding of class tokens and of a 14×14 grid
    patch_embed.proj                  16 px patches: stride 16
    blocks.0 … blocks.11              six heads: norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2
    norm                              not used by the network, and left unread
    head [K, 384, 3, 3]               padded convolution over the patch tokens; its response is the PatchCAM

LPCAM stands in the place of the PatchCAM: it clusters the patch tokens. No matrix multiplies them in a 3×3 convolution;
what stands for w is its response to a constant map, the sum over the kernel.

K is part of the network, and comes from the checkpoint's class tokens. Pixels are normalised with ImageNet's mean and
std. Views are rounded to whole patches, and the positions of patches resampled (`lpcam.backbones.patches`).

The attention of its class tokens to patches, and among patches, can be put on the maps of any method
(`lpcam.methods.attention`, ``lpcam generate --attention fuse|refine``).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones.checkpoints import Tensors
from lpcam.backbones.classifier import Blueprint
from lpcam.backbones.patches import PatchGrid, with_positions

CHANNELS, DEPTH, HEADS, PATCH, SIDE = 384, 12, 6, 16, 14

_TRUNK = "trunk.net."


def build(name: str) -> Blueprint:
    """Return the blueprint; ``name`` is ``mctformer``. The network has 20 class tokens until it meets a checkpoint."""
    del name
    trunk = PatchGrid(ClassTokenNet(20), PATCH, prefix_tokens=0)
    return Blueprint(
        nn.ModuleDict({"trunk": trunk}),
        ("trunk",),
        "head.weight",
        rename=canonical_name,
        minimum_side=PATCH,
        matrix=class_matrix,
        adapt=with_class_tokens,
    )


def canonical_name(key: str) -> str | None:
    """Return the canonical name of a key of MCTformer, None for the normalisation it does not use.

    >>> canonical_name("blocks.0.attn.qkv.bias"), canonical_name("head.weight"), canonical_name("norm.bias")
    ('trunk.net.blocks.0.attn.qkv.bias', 'head.weight', None)
    """
    if key.startswith("norm."):
        return None
    return key if key.startswith((_TRUNK, "head.")) else _TRUNK + key


def class_matrix(head: Tensor, num_classes: int | None) -> Tensor:
    """Return the response [K, C] to a constant map of a head [K, C, 3, 3]."""
    return head.flatten(2).sum(2) if head.ndim == 4 else head


def with_class_tokens(network: nn.Module, tensors: Tensors) -> None:
    """Give the network as many class tokens as the checkpoint has."""
    tokens = tensors.get(f"{_TRUNK}cls_token")
    net = network.get_submodule("trunk.net")
    if tokens is not None and tokens.ndim == 3 and isinstance(net, ClassTokenNet):
        net.resize(tokens.shape[1])


class ClassTokenNet(nn.Module):
    """The transformer, under the names of MCTformer's checkpoints.

    Attributes:
        cls_token: [1, K, 384].
        pos_embed: [1, K + 14·14, 384].
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, CHANNELS, PATCH, PATCH)))
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.resize(num_classes)

    def resize(self, num_classes: int) -> None:
        """Take room for K class tokens; their values and those of all positions are lost."""
        like = next(self.patch_embed.parameters())
        self.cls_token = nn.Parameter(like.new_zeros(1, num_classes, CHANNELS))
        self.pos_embed = nn.Parameter(like.new_zeros(1, num_classes + SIDE**2, CHANNELS))

    def forward(self, images: Tensor) -> Tensor:
        """Return patch tokens [N, h·w, 384] of images of whole patches."""
        tokens: Tensor = self.blocks(self._first_tokens(images))
        return tokens[:, self.cls_token.shape[1] :]

    def attend(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``forward`` does, and the attention of all tokens to all, [N, T, T], class tokens first.

        It is averaged over heads and summed over blocks.
        """
        tokens = self._first_tokens(images)
        attention = tokens.new_zeros(())
        for block in self.blocks.children():
            if isinstance(block, Block):
                attention = attention + block.attention(tokens)
            tokens = block(tokens)
        return tokens[:, self.cls_token.shape[1] :], attention

    def _first_tokens(self, images: Tensor) -> Tensor:
        return with_positions(self.patch_embed(images), self.pos_embed, self.cls_token)


class Block(nn.Module):
    """A pre-normalised transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.mlp = Mlp()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [N, T, 384]."""
        tokens = tokens + self.attn(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed

    def attention(self, tokens: Tensor) -> Tensor:
        """Return the attention of all tokens to all, mean over heads: [N, T, T]."""
        return self.attn.weights(self.norm1(tokens)).mean(dim=1)


class Attention(nn.Module):
    """Self-attention of six heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.proj = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [N, T, 384]."""
        mixed: Tensor = F.scaled_dot_product_attention(*self._heads(tokens))
        attended: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return attended

    def weights(self, tokens: Tensor) -> Tensor:
        """Return how much each token attends to each other: [N, 6, T, T], rows sum to 1."""
        query, key, _ = self._heads(tokens)
        weights: Tensor = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        return weights

    def _heads(self, tokens: Tensor) -> Tensor:
        """Return queries, keys and values: [3, N, 6, T, 64]."""
        count, length, _ = tokens.shape
        heads: Tensor = self.qkv(tokens).view(count, length, 3, HEADS, CHANNELS // HEADS).permute(2, 0, 3, 1, 4)
        return heads


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.fc2 = nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [N, T, 384]."""
        mixed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mixed
