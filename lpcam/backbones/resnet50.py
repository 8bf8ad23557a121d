"""The ResNet-50 of the IRN family (IRN, LPCAM, ReCAM, AMN stage 1, SIPE's classification branch).

It is torchvision's ResNet-50 with strides (2, 2, 2, 1) and no dilation (output stride 16), batch norm fixed, and a
1×1 convolution without bias as classifier. Its checkpoints hold the same tensors under several names:

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
from dataclasses import replace

from lpcam.backbones import torchvision_nets
from lpcam.backbones.classifier import Blueprint

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
    return replace(torchvision_nets.build(f"torchvision/{name}"), rename=canonical_name)


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
