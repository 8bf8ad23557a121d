"""The demo's own classifier: a small ReLU ConvNet that a laptop trains in a minute."""

from __future__ import annotations

from torch import Tensor, nn

from lpcam.backbones.classifier import Blueprint

CHANNELS = 512
STRIDE = 8

_LAYERS = ((3, 16, 4, 2), (16, 32, 4, 2), (32, 64, 4, 2), (64, CHANNELS, 3, 1))
"""Channels in, channels out, side and stride of the convolutions. A side of 4 at stride 2 puts a cell in the middle of
its pixels, so that the features of a photo and of its mirror image, which LPCAM adds, are about the same places."""


def build(name: str) -> Blueprint:
    """Return the network, untrained.

    Args:
        name: ``demo``; there is one size only.
    """
    del name
    stages = tuple(f"features.{index}" for index in range(len(_LAYERS)))
    return Blueprint(DemoNet(), stages=stages, head="fc.weight", stride=STRIDE, minimum_side=16)


class DemoNet(nn.Module):
    """Four convolutions, each with batch norm and ReLU: the trunk without its head.

    A feature sees 38 × 38 pixels: a head or a part of a body, never a whole animal, so that what the classifier
    finds telling about a place stays at that place.
    """

    def __init__(self) -> None:
        super().__init__()
        layers = [_layer(*sizes) for sizes in _LAYERS[:-1]]
        self.features = nn.Sequential(*layers, _layer(*_LAYERS[-1], norm=SparseNorm))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, float32 [N, 512, h, w], of normalised images [N, 3, H, W]."""
        features: Tensor = self.features(images)
        return features


class SparseNorm(nn.BatchNorm2d):
    """Batch norm whose bias begins at -1, so that ReLU passes one value in six.

    The features of large ImageNet classifiers are sparse; it is what makes their cosines tell places apart.
    """

    def reset_parameters(self) -> None:
        """Begin at scale 1 and bias -1."""
        super().reset_parameters()
        nn.init.constant_(self.bias, -1.0)


def _layer(
    inputs: int, outputs: int, side: int, stride: int, norm: type[nn.BatchNorm2d] = nn.BatchNorm2d
) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, side, stride, 1, bias=False), norm(outputs), nn.ReLU())
