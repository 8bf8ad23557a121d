"""The ResNet-50 of the IRN family (IRN, LPCAM, ReCAM, AMN stage 1, SIPE's classification branch).

    conv1, bn1, ReLU, maxpool    7×7, 64 channels, then 3×3: stride 4
    layer1                       3 bottlenecks of 64 channels inside, 256 out
    layer2                       4 of 128 and 512, stride 8
    layer3                       6 of 256 and 1024, stride 16
    layer4                       3 of 512 and 2048, stride 32 as published, the features

A bottleneck is three convolutions (1×1, 3×3, 1×1), each with batch norm, beside a shortcut; the 3×3 one is strided.
The IRN family has strides (2, 2, 2, 1) and no dilation (output stride 16, `lpcam.backbones.dense`), batch norm fixed,
and a 1×1 convolution without bias as classifier. Names, initial weights and features are those of torchvision's
ResNet-50, whose ImageNet weights the repositories start from; torchvision itself, slow to import, is left alone. The
family's checkpoints hold the same tensors under several names:

    resnet50.layer1.0.conv1.weight      the network
    stage1.4.0.conv1.weight             stage1 = conv1, bn1, ReLU, pool, layer1; stageN = layerN
    backbone.0.4.0.conv1.weight         a list of the stages
    classifier.weight, newly_added.0.weight     the class weights [K, 2048, 1, 1]

torchvision's own names (``layer1.0.conv1.weight``, ``fc.weight`` [K, 2048]) are read too. Left unread on purpose:

    resnet50.fc.*                                    the ImageNet head
    newly_added.1.* …                                SIPE's side convolutions, once more (`lpcam.backbones.extras`)
    recam_predictor.*                                ReCAM's second classifier, where it was saved with the network
    label_enc.*, classifier.1.*, newly_added.0.1.*   AMN stage 2: its label encoder, and a head of dilated 3×3
                                                     convolutions that is no matrix (give --head FILE)
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from lpcam.backbones.classifier import Blueprint

CHANNELS = 2048

_STAGES = (  # name, how many bottlenecks, channels inside, stride of the first
    ("layer1", 3, 64, 1),
    ("layer2", 4, 128, 2),
    ("layer3", 6, 256, 2),
    ("layer4", 3, 512, 2),
)
_WIDENED = 4  # channels out of a bottleneck over those inside
_UNREAD = re.compile(
    r"resnet50\.fc\.|newly_added\.[1-9]\.|recam_predictor\.|label_enc\.|classifier\.1\.|newly_added\.0\.1\."
)
_RENAMED = (
    (re.compile(r"^resnet50\."), ""),
    (re.compile(r"^backbone\.0\."), "stage1."),
    (re.compile(r"^backbone\.1\."), "stage2."),
    (re.compile(r"^backbone\.2\."), "stage3."),
    (re.compile(r"^backbone\.3\."), "stage4."),
    (re.compile(r"^stage1\.0\."), "conv1."),
    (re.compile(r"^stage1\.1\."), "bn1."),
    (re.compile(r"^stage1\.4\."), "layer1."),
    (re.compile(r"^stage([234])\.0\."), r"layer\1."),
    (re.compile(r"^newly_added\.0\."), "fc."),
    (re.compile(r"^classifier\."), "fc."),
)


def build(name: str) -> Blueprint:
    """Return the blueprint; ``name`` is ``resnet50``."""
    del name
    network = ResNet50()
    stages = ("conv1", "bn1", "relu", "maxpool", *(stage for stage, *_ in _STAGES))
    return Blueprint(network, stages, "fc.weight", rename=canonical_name, imagenet=_imagenet_tensors)


def canonical_name(key: str) -> str | None:
    """Return torchvision's name for a key of an IRN-family checkpoint, None for one that is not read.

    >>> canonical_name("backbone.0.4.1.bn2.weight")
    'layer1.1.bn2.weight'
    >>> canonical_name("newly_added.0.weight")
    'fc.weight'
    >>> canonical_name("resnet50.fc.weight") is None
    True
    """
    if _UNREAD.match(key):
        return None
    for pattern, replacement in _RENAMED:
        key = pattern.sub(replacement, key)
    return key


class ResNet50(nn.Module):
    """The trunk and a head of one class, under torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for name, count, inside, stride in _STAGES:
            first = Bottleneck(channels, inside, stride)
            channels = _WIDENED * inside
            self.add_module(name, nn.Sequential(first, *(Bottleneck(channels, inside) for _ in range(1, count))))
        self.fc = nn.Linear(CHANNELS, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # numbers are drawn where they are kept
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with batch norm, added to their input or to a 1×1 convolution of it."""

    def __init__(self, inputs: int, inside: int, stride: int = 1) -> None:
        super().__init__()
        outputs = _WIDENED * inside
        self.conv1, self.bn1 = nn.Conv2d(inputs, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        changes = stride > 1 or inputs != outputs
        widened = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)) if changes else ()
        self.downsample = nn.Sequential(*widened)

    def forward(self, grid: Tensor) -> Tensor:
        """Return [N, outputs, h', w'] of a grid [N, inputs, h, w]."""
        inside = self.relu(self.bn1(self.conv1(grid)))
        inside = self.relu(self.bn2(self.conv2(inside)))
        branch: Tensor = self.bn3(self.conv3(inside))
        branch += self.downsample(grid)  # in place, as ReLU is: one grid less in memory
        return self.relu(branch)  # type: ignore[no-any-return]


def _imagenet_tensors() -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights, see `lpcam.backbones.torchvision_nets.imagenet_tensors`."""
    from lpcam.backbones.torchvision_nets import imagenet_tensors

    return imagenet_tensors("resnet50")
