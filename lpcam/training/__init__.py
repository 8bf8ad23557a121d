"""What the tool trains itself: classifiers of image-level labels.

`train_classifier` trains a whole network, `train_head` only the class weights over a frozen one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpcam.training.classifier import train_classifier
    from lpcam.training.head import HeadRecipe, HeadReport, train_head
    from lpcam.training.recipe import Recipe
    from lpcam.training.run import TrainingReport

__all__ = ["HeadRecipe", "HeadReport", "Recipe", "TrainingReport", "train_classifier", "train_head"]

_HOMES = {
    "HeadRecipe": "lpcam.training.head",
    "HeadReport": "lpcam.training.head",
    "Recipe": "lpcam.training.recipe",
    "TrainingReport": "lpcam.training.run",
    "train_classifier": "lpcam.training.classifier",
    "train_head": "lpcam.training.head",
}


def __getattr__(name: str) -> Any:  # torch is imported when something is trained
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
