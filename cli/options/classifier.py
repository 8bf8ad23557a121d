"""Which pretrained classifier, and what of it is stored."""

from __future__ import annotations

from typing import Any

import click

from .declaring import FILE, numbers_option, stacked
from .taking import take

classifier_options = stacked(
    click.option(
        "--arch",
        required=True,
        help="resnet50 (IRN), resnet38d (PSA, SEAM, EDAM), mctformer, torchvision/NAME, timm/NAME, demo.",
    ),
    click.option("--weights", type=str, required=True, help="Checkpoint file, or 'imagenet'."),
    click.option("--stride", type=int, help="Output stride: 8, 16 or 32. [default: 16]"),
    click.option("--layer", help="Feature layer. [default: the last before pooling]"),
    click.option("--head", type=FILE, help="Class weights [K, C] (npy, safetensors) in place of the checkpoint's."),
)
scales_option = numbers_option("--scales", help="Of the views. [default: 1,.5,1.5,2]")
dtype_option = click.option("--dtype", help="Of stored features: float16, bfloat16 or float32. [default: float16]")


def take_classifier_source(options: dict[str, Any]) -> Any:
    """Remove the classifier options and return their ClassifierSource."""
    from lpcam.sources import ClassifierSource

    return ClassifierSource(**take(options, "arch", "weights", "stride", "layer", "head"))
