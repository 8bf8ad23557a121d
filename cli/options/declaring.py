"""How options are declared: several as one decorator, and values that are lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


def stacked(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that applies several, so that --help lists their options in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def names_option(*flags: str, help: str) -> Callable[[Command], Command]:
    """Return an option that takes names separated by commas."""
    return click.option(*flags, metavar="A,B,…", callback=_names, help=help)


def numbers_option(*flags: str, help: str) -> Callable[[Command], Command]:
    """Return an option that takes numbers separated by commas."""
    return click.option(*flags, metavar="A,B,…", callback=_numbers, help=help)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(","))


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of numbers such as 1,.5,1.5,2", ctx, param) from None
