"""Pictures on a terminal: by the protocol of kitty or of iTerm2, else as blocks of two colours; nothing in a pipe."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import click

_CHUNK = 4096  # most characters that kitty takes at a time
_KITTY = ("xterm-kitty", "xterm-ghostty")
_ITERM = ("iTerm.app", "WezTerm")


def show_picture(path: Path) -> bool:
    """Show a PNG on stdout where it is a terminal that can, and return whether it was shown."""
    shown = {"kitty": _kitty, "iterm": _iterm, "blocks": _blocks}.get(protocol_of(sys.stdout, os.environ) or "")
    if shown is None:
        return False
    for line in shown(path):
        click.echo(line, color=True)
    return True


def protocol_of(stream: IO[str], environment: Mapping[str, str]) -> str | None:
    """Return how a stream can show pictures: ``kitty``, ``iterm``, ``blocks`` or not at all.

    Args:
        stream: Where it would be shown; a pipe or a file shows none.
        environment: What terminals say of themselves. tmux and screen keep what they do not know to themselves, so that
            only blocks go through them.
    """
    terminal = environment.get("TERM", "")
    if not stream.isatty() or terminal in ("", "dumb"):
        return None
    direct = "TMUX" not in environment and not terminal.startswith(("tmux", "screen"))
    if direct and (terminal in _KITTY or "KITTY_WINDOW_ID" in environment):
        return "kitty"
    if direct and (environment.get("TERM_PROGRAM") in _ITERM or environment.get("LC_TERMINAL") == "iTerm2"):
        return "iterm"
    coloured = environment.get("COLORTERM") in ("truecolor", "24bit") and not environment.get("NO_COLOR")
    return "blocks" if coloured else None


def _kitty(path: Path) -> Iterator[str]:
    """Yield the escape codes of kitty's graphics protocol: PNG, shown where the cursor is."""
    data = base64.standard_b64encode(path.read_bytes()).decode()
    chunks = [data[first : first + _CHUNK] for first in range(0, len(data), _CHUNK)]
    text = ""
    for index, chunk in enumerate(chunks):
        control = "a=T,f=100," if index == 0 else ""
        text += f"\033_G{control}m={int(index < len(chunks) - 1)};{chunk}\033\\"
    yield text


def _iterm(path: Path) -> Iterator[str]:
    """Yield the escape code of iTerm2's inline images."""
    data = path.read_bytes()
    encoded = base64.standard_b64encode(data).decode()
    yield f"\033]1337;File=inline=1;size={len(data)};preserveAspectRatio=1:{encoded}\a"


def _blocks(path: Path) -> Iterator[str]:
    """Yield lines of half blocks, two pixels a character, as wide as the terminal."""
    import shutil

    from PIL import Image

    with Image.open(path) as image:
        width = min(shutil.get_terminal_size().columns, 160, image.width)
        height = max(2, 2 * round(image.height * width / image.width / 2))
        small = image.convert("RGB").resize((width, height))
    for row in range(0, height, 2):
        pairs = ((small.getpixel((column, row)), small.getpixel((column, row + 1))) for column in range(width))
        yield "".join(f"\033[38;2;{_rgb(above)};48;2;{_rgb(below)}m▀" for above, below in pairs) + "\033[0m"


def _rgb(colour: object) -> str:
    return ";".join(map(str, colour)) if isinstance(colour, tuple) else ""
