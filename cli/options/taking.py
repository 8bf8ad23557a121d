"""How a command takes its options: only those that were given are passed on, for the library owns every default."""

from __future__ import annotations

from typing import Any


def given(**values: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def take(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Remove options by name and return those that were given."""
    return given(**{name: options.pop(name, None) for name in names})


def spelled(options: dict[str, Any]) -> str:
    """Return the first option's name as a user writes it, without dashes before it."""
    return next(iter(options)).replace("_", "-")
