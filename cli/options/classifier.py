"""Which pretrained classifier, and what of it is stored."""

from __future__ import annotations

from typing import Any

from ..completing import ARCHITECTURES, DTYPES, one_of
from .declaring import FILE, LIST, numbers, options_under, stacked
from .taking import take

_option = options_under("Classifier")

classifier_options = stacked(
    _option(
        "--arch",
        required=True,
        shell_complete=one_of(ARCHITECTURES),
        help="resnet50 (IRN), resnet38d (PSA, SEAM, EDAM), mctformer, torchvision/NAME, timm/NAME, demo.",
    ),
    _option("--weights", type=str, required=True, help="Checkpoint file, or 'imagenet'."),
    _option("--stride", type=int, help="Output stride: 8, 16 or 32. [default: 16]"),
    _option("--layer", help="Feature layer. [default: the last before pooling]"),
    _option("--head", type=FILE, help="Class weights [K, C] (npy, safetensors) in place of the checkpoint's."),
)
scales_option = _option("--scales", metavar=LIST, callback=numbers, help="Of the views. [default: 1,.5,1.5,2]")
dtype_option = _option(
    "--dtype",
    shell_complete=one_of(DTYPES),
    help="Of stored features: float16, bfloat16 or float32. [default: float16]",
)


def take_classifier_source(options: dict[str, Any]) -> Any:
    """Remove the classifier options and return their ClassifierSource."""
    from lpcam.sources import ClassifierSource

    return ClassifierSource(**take(options, "arch", "weights", "stride", "layer", "head"))
