"""lpcam: better seed masks from image-level labels, without training.

Importing the package costs nothing: torch is imported when one of its names is first used. The stages of a run are
the functions of `lpcam.corridor`.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpcam.errors import LpcamError
from lpcam.profiles import PROFILES, Profile, get_profile

if TYPE_CHECKING:
    from lpcam.backbones import load_classifier
    from lpcam.live import CAM, LPCAM, build_prototypes
    from lpcam.prototypes import Prototypes
    from lpcam.sources import ClassifierSource, DataSource
    from lpcam.workspace import Workspace

__all__ = [
    "CAM",
    "LPCAM",
    "PROFILES",
    "ClassifierSource",
    "DataSource",
    "LpcamError",
    "Profile",
    "Prototypes",
    "Workspace",
    "build_prototypes",
    "get_profile",
    "load_classifier",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "CAM": "lpcam.live",
    "ClassifierSource": "lpcam.sources",
    "DataSource": "lpcam.sources",
    "LPCAM": "lpcam.live",
    "Prototypes": "lpcam.prototypes",
    "Workspace": "lpcam.workspace",
    "build_prototypes": "lpcam.live",
    "load_classifier": "lpcam.backbones",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lpcam")
    except PackageNotFoundError:  # run from a tree that is not installed
        return "0+tree"
