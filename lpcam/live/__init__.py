"""LPCAM in a user's own program: any module as the classifier, tensors in, maps out, no disk."""

from __future__ import annotations

from lpcam.live.building import build_prototypes
from lpcam.live.extractors import CAM, LPCAM

__all__ = ["CAM", "LPCAM", "build_prototypes"]
