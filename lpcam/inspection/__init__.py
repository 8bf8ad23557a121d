"""What a file or a folder holds: workspace, features, prototypes, checkpoint, seeds, or what a method sees in a photo.

Nothing is changed and nothing foreign is run: checkpoints and dictionaries are read by the restricted readers of
`lpcam.backbones.checkpoints` and `lpcam.pickles`.
"""

from __future__ import annotations

from lpcam.inspection.findings import Findings
from lpcam.inspection.photo import DEFAULT_THRESHOLD, PhotoMaps, maps_of_photo, overlay, write_overlay
from lpcam.inspection.things import inspect, is_photo

__all__ = [
    "DEFAULT_THRESHOLD",
    "Findings",
    "PhotoMaps",
    "inspect",
    "is_photo",
    "maps_of_photo",
    "overlay",
    "write_overlay",
]
