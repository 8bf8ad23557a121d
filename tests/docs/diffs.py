"""The worked changes of docs/contributing.md."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.blocks import blocks

PAGE = Path(__file__).parents[2] / "docs/contributing.md"


def diffs() -> list[str]:
    """Return the changes, as git applies them."""
    return [block.text for block in blocks(PAGE.read_text(encoding="utf-8")) if block.language == "diff"]


def added(path: str) -> str:
    """Return the lines that the changes add to a file: the whole of a new one.

    Args:
        path: In the repository.
    """
    (of_file,) = re.findall(
        rf"^\+\+\+ b/{re.escape(path)}\n(.*?)(?=^--- |\Z)", "".join(diffs()), re.DOTALL | re.MULTILINE
    )
    return "".join(f"{line[1:]}\n" for line in of_file.splitlines() if line.startswith("+"))
