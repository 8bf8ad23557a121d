"""In which family's format seeds are, and what lies beside them."""

from __future__ import annotations

from typing import Any

from lpcam.refiners import REFINERS

from ..completing import one_of
from .declaring import FILE, options_under, stacked
from .taking import take

_option = options_under("Seeds")

refiner_option = _option(
    "--refiner",
    shell_complete=one_of(tuple(REFINERS)),
    help="Family whose seed format is written or read, see docs/refiners.md. [default: irn]",
)
part_options = stacked(
    _option("--crf", is_flag=True, default=None, help="Also write what the family makes with a dense CRF."),
    _option("--saliency", type=FILE, help="Folder of saliency maps: also write edam's labels."),
)


def take_parts(options: dict[str, Any]) -> Any:
    """Remove the options of what lies beside the seeds and return them."""
    from lpcam.refiners.parts import PartOptions

    return PartOptions(**take(options, "crf", "saliency"))
