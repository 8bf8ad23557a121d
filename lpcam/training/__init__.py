"""What the tool trains itself: classifiers of image-level labels.

`train_classifier` trains a whole network, `train_head` only the class weights over a frozen one; `train_sipe` and
`train_cpal` train the systems of those names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpcam.training.classifier import train_classifier
    from lpcam.training.cpal import CpalRecipe, train_cpal
    from lpcam.training.head import HeadRecipe, HeadReport, train_head
    from lpcam.training.recipe import Recipe
    from lpcam.training.run import TrainingReport
    from lpcam.training.sipe import train_sipe

__all__ = [
    "CpalRecipe",
    "HeadRecipe",
    "HeadReport",
    "Recipe",
    "TrainingReport",
    "train_classifier",
    "train_cpal",
    "train_head",
    "train_sipe",
]

_HOMES = {
    "CpalRecipe": "lpcam.training.cpal",
    "HeadRecipe": "lpcam.training.head",
    "HeadReport": "lpcam.training.head",
    "Recipe": "lpcam.training.recipe",
    "TrainingReport": "lpcam.training.run",
    "train_classifier": "lpcam.training.classifier",
    "train_cpal": "lpcam.training.cpal",
    "train_head": "lpcam.training.head",
    "train_sipe": "lpcam.training.sipe",
}


def __getattr__(name: str) -> Any:  # torch is imported when something is trained
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
