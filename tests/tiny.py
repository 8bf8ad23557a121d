"""A classifier whose maps can be computed on paper: its features are the block means of the photo's colours."""

from __future__ import annotations

import torch
from torch import nn

from lpcam.backbones.classifier import Blueprint, Classifier

BLOCK = 4


def tiny_classifier(class_weights: list[list[float]]) -> Classifier:
    """Return the classifier; f = mean RGB (in 0..1) of every 4×4 block."""
    network = nn.Sequential(nn.AvgPool2d(BLOCK))
    blueprint = Blueprint(network, stages=("0",), head="fc.weight", stride=BLOCK, minimum_side=BLOCK)
    net = Classifier("tiny", blueprint, "0", BLOCK, torch.tensor(class_weights), "0" * 64)
    net.mean, net.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return net


class TinyNet(nn.Module):
    """A convolution, batch norm, ReLU and dropout, averaged into a linear head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers = nn.Conv2d(3, 6, BLOCK, BLOCK), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.1)
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(6, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [N, K]."""
        logits: torch.Tensor = self.fc(self.features(images).mean(dim=(2, 3)))
        return logits


def build(name: str) -> Blueprint:
    """Return the blueprint of `TinyNet`, as the architecture ``tiny``."""
    del name
    stages = tuple(f"features.{index}" for index in range(4))
    return Blueprint(TinyNet(1), stages=stages, head="fc.weight", stride=BLOCK, minimum_side=BLOCK)
