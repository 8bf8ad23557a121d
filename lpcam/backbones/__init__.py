"""A classifier seen as (features, class weights): architectures, checkpoints, output stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpcam.backbones.classifier import Classifier
    from lpcam.backbones.loading import known_architectures, load_classifier, load_trunk
    from lpcam.backbones.trunk import Trunk

__all__ = ["ARCHITECTURES", "Classifier", "Trunk", "known_architectures", "load_classifier", "load_trunk"]

ARCHITECTURES = ("demo", "mctformer", "resnet38d", "resnet50", "timm/NAME", "torchvision/NAME")
"""What ``--arch`` takes; ``known_architectures()`` lists every NAME of torchvision."""

_HOMES = {
    "Classifier": "lpcam.backbones.classifier",
    "known_architectures": "lpcam.backbones.loading",
    "Trunk": "lpcam.backbones.trunk",
    "load_classifier": "lpcam.backbones.loading",
    "load_trunk": "lpcam.backbones.loading",
}


def __getattr__(name: str) -> Any:  # torch is imported when a classifier is wanted, not for `lpcam --help`
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
