"""In which family's format seeds are, and what lies beside them."""

from __future__ import annotations

from typing import Any

import click

from .declaring import FILE, stacked
from .taking import take

refiner_option = click.option(
    "--refiner", help="Family whose seed format is written or read, see docs/refiners.md. [default: irn]"
)
part_options = stacked(
    click.option("--crf", is_flag=True, default=None, help="Also write what the family makes with a dense CRF."),
    click.option("--saliency", type=FILE, help="Folder of saliency maps: also write edam's labels."),
)


def take_parts(options: dict[str, Any]) -> Any:
    """Remove the options of what lies beside the seeds and return them."""
    from lpcam.refiners.parts import PartOptions

    return PartOptions(**take(options, "crf", "saliency"))
