"""Training the demo's small classifier from scratch, on photos that fit into memory.

Classifiers of real photos are trained by `lpcam.training.classifier`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones.classifier import IMAGENET_MEAN, IMAGENET_STD, Blueprint
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.records import DataSplit, Progress, silent
from lpcam.training.targets import label_matrix

_STRETCH = 0.12  # most logarithm of the aspect
_TURN = 0.12  # most turn, radians


@dataclass(frozen=True)
class DemoRecipe:
    """How a classifier is trained.

    Attributes:
        epochs: Passes over the photos.
        batch_size: Photos a step; the rest of an epoch that does not fill a batch is left out.
        lr: Highest learning rate of AdamW, reached after 30 % of the steps, cosine before and after (one cycle).
        object_share: Share of a photo its object is taken to cover, in 0..1: the sum over all positions is divided
            by the positions of that share, not of the photo. Class weights then answer for a place of the object,
            which is what the softmax of LPCAM's filter asks them (Eq. 3), and not for a photo's average.
        head_gain: How much larger head weights begin and learn than PyTorch's default: average pooling
            dilutes a small part's evidence.
        weight_decay: Of AdamW, for the network.
        head_decay: Likewise for the head weights, as if they learned at ``lr``.
        longest: Photos are kept in memory no longer than this, px.
        crop: Side of the square a photo is seen through, px.
        scale: Least and most zoom.
        shift: Most shift of the crop, as a share of half of its side.
        colour: Most change of a channel's gain, and of brightness in standard deviations.
    """

    epochs: int = 40
    batch_size: int = 8
    lr: float = 4e-4
    object_share: float = 0.25
    head_gain: float = 25.0
    weight_decay: float = 1e-4
    head_decay: float = 0.1
    longest: int = 192
    crop: int = 160
    scale: tuple[float, float] = (0.8, 1.25)
    shift: float = 0.2
    colour: float = 0.2

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.longest, self.crop) < 1:
            raise ValueError(f"expected epochs, batch_size, longest and crop of 1 or more, got {self}")
        if self.lr <= 0 or not 0 < self.scale[0] <= self.scale[1] or not 0 < self.object_share <= 1:
            raise ValueError(f"expected lr > 0, 0 < scale[0] <= scale[1] and 0 < object_share <= 1, got {self}")


def train_demo_classifier(
    blueprint: Blueprint,
    split: DataSplit,
    *,
    recipe: DemoRecipe = DemoRecipe(),
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Train an architecture from scratch with global average pooling and the multi-label soft margin loss.

    Logit of class k: w_k · mean_{h,w} f(x) / ``object_share``, without a bias: what speaks against a class must then
    be a feature, which gives the background features of its own. Only the photos and their image-level labels are
    read, never a mask. All photos are held in memory, as uint8 no longer than ``recipe.longest``.

    Args:
        blueprint: The architecture, on the CPU; its network is trained in place.
        split: Photos and labels; photos without any label count too.
        recipe: Hyper-parameters.
        seed: Of the initial weights, the order of the photos and their crops. PyTorch's global generator is left as
            it was. Same seed, same machine and same number of threads: same bytes.
        device: As torch names it.
        progress: Told after every epoch, stage ``train``.

    Returns:
        A state dict on the CPU: the network's, and the head's weight [K, C] under the blueprint's name.

    Raises:
        LpcamError: fewer photos than a batch, or a photo that cannot be read.
    """
    if len(split.photos) < recipe.batch_size:
        raise LpcamError(
            f"split {split.split} has {len(split.photos)} photos, fewer than a batch of {recipe.batch_size}: "
            "add photos or train with a smaller batch"
        )
    generator = torch.Generator().manual_seed(seed)
    photos, targets = load_photos(split, recipe.longest), label_matrix(split)
    model = _PooledClassifier(blueprint, len(split.classes), recipe, seed).to(device)
    optimiser = _optimiser(model, recipe)
    steps = recipe.epochs * (len(photos) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step / steps))
    model.train()
    for epoch in range(recipe.epochs):
        progress("train", epoch, recipe.epochs)
        for rows in torch.split(torch.randperm(len(photos), generator=generator), recipe.batch_size):
            if len(rows) == recipe.batch_size:
                images = augment(photos[rows], recipe, generator)
                _step(model, optimiser, images.to(device), targets[rows].to(device))
                schedule.step()
    progress("train", recipe.epochs, recipe.epochs)
    return model.state(blueprint)


def load_photos(split: DataSplit, longest: int) -> Tensor:
    """Return all photos, centred on squares of ImageNet's mean colour: uint8 [N, 3, longest, longest]."""
    empty = np.array([round(255 * mean) for mean in IMAGENET_MEAN], np.uint8)
    squares = np.empty((len(split.photos), longest, longest, 3), np.uint8)
    squares[:] = empty
    for square, photo in zip(squares, split.photos, strict=True):
        pixels = _shrunk(read_photo(photo.path), longest)
        height, width = pixels.shape[:2]
        top, left = (longest - height) // 2, (longest - width) // 2
        square[top : top + height, left : left + width] = pixels
    return torch.from_numpy(squares).permute(0, 3, 1, 2).contiguous()


def augment(photos: Tensor, recipe: DemoRecipe, generator: torch.Generator) -> Tensor:
    """Zoom, shift, turn, mirror and tint each photo by its own random amounts.

    Args:
        photos: uint8 [N, 3, S, S].
        recipe: Ranges, and the side of the crop.
        generator: Of the amounts.

    Returns:
        float32 [N, 3, crop, crop], normalised with ImageNet's mean and std; outside of the photo 0.
    """
    count = len(photos)
    images = _normalised(photos)
    zoom = recipe.crop / photos.shape[-1] / _between(*recipe.scale, (count,), generator)
    theta = _views(zoom, recipe.shift, generator)
    grid = F.affine_grid(theta, [count, 3, recipe.crop, recipe.crop], align_corners=False)
    seen = F.grid_sample(images, grid, align_corners=False)
    gain = 1 + _between(-recipe.colour, recipe.colour, (count, 3, 1, 1), generator)
    return seen * gain + _between(-recipe.colour, recipe.colour, (count, 1, 1, 1), generator)


def one_cycle(share: float) -> float:
    """Return the learning rate, as a share of the highest, after ``share`` of all steps.

    >>> [round(one_cycle(share), 2) for share in (0, 0.3, 0.65, 1)]
    [0.04, 1.0, 0.5, 0.0]
    """
    warm, start = 0.3, 0.04
    if share < warm:
        return start + (1 - start) * (1 - math.cos(math.pi * share / warm)) / 2
    return (1 + math.cos(math.pi * (share - warm) / (1 - warm))) / 2


class _PooledClassifier(nn.Module):
    """The network, average pooling and a linear head."""

    def __init__(self, blueprint: Blueprint, num_classes: int, recipe: DemoRecipe, seed: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(blueprint.network.get_submodule(name) for name in blueprint.stages))
        with torch.random.fork_rng(devices=[]):  # initialisers draw from the global generator
            torch.manual_seed(seed)
            self.trunk.apply(_reset)
            self.head = nn.Linear(_channels(self.trunk, blueprint.minimum_side), num_classes, bias=False)
        with torch.no_grad():
            self.head.weight.mul_(recipe.head_gain)
        self.object_share = recipe.object_share

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, K]."""
        logits: Tensor = self.head(self.trunk(images).mean(dim=(2, 3)) / self.object_share)
        return logits

    def state(self, blueprint: Blueprint) -> dict[str, Tensor]:
        """Return what a checkpoint of the architecture holds."""
        tensors = {**blueprint.network.state_dict(), blueprint.head: self.head.weight}
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def _channels(trunk: nn.Module, side: int) -> int:
    trunk.eval()
    with torch.no_grad():
        return int(trunk(torch.zeros(1, 3, side, side)).shape[1])


def _optimiser(model: _PooledClassifier, recipe: DemoRecipe) -> torch.optim.Optimizer:
    trunk = {"params": list(model.trunk.parameters()), "lr": recipe.lr, "weight_decay": recipe.weight_decay}
    weight = {
        "params": [model.head.weight],
        "lr": recipe.lr * recipe.head_gain,
        "weight_decay": recipe.head_decay / recipe.head_gain,
    }
    return torch.optim.AdamW([trunk, weight])


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, targets: Tensor) -> None:
    loss = F.multilabel_soft_margin_loss(model(images), targets)
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()


def _shrunk(photo: np.ndarray, longest: int) -> np.ndarray:
    height, width = photo.shape[:2]
    if max(height, width) <= longest:
        return photo
    share = longest / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))


def _normalised(photos: Tensor) -> Tensor:
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(IMAGENET_STD)[:, None, None]
    return (photos.float() / 255 - mean) / std


def _views(zoom: Tensor, shift: float, generator: torch.Generator) -> Tensor:
    """Return affine maps [N, 2, 3] from the crop to the photo, both -1..1."""
    count = len(zoom)
    mirror = 1 - 2 * torch.randint(2, (count,), generator=generator)
    aspect = torch.exp(_between(-_STRETCH, _STRETCH, (count,), generator))
    turn = _between(-_TURN, _TURN, (count,), generator)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * zoom * aspect, turn * zoom
    theta[:, 1, 0], theta[:, 1, 1] = -mirror * turn * zoom, zoom / aspect
    theta[:, :, 2] = _between(-shift, shift, (count, 2), generator)
    return theta


def _between(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
