"""Colour on a terminal: as NO_COLOR, FORCE_COLOR and TERM ask for it."""

from __future__ import annotations

from collections.abc import Mapping


def wants_colour(environment: Mapping[str, str]) -> bool | None:
    """Return whether to use colour; None leaves it to whether the output is a terminal.

    The conventions of no-color.org and force-color.org: a variable counts where it is not empty, and NO_COLOR is
    stronger.

    Args:
        environment: Variables by name.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return False if environment.get("TERM") == "dumb" else None
