"""How options are declared: several as one decorator, and values that are lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
LIST = "A,B,…"
"""How --help shows the value of an option that takes several."""


class Option(click.Option):
    """An option that knows under which heading --help shows it."""

    def __init__(self, *args: Any, heading: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.heading = heading


def options_under(heading: str) -> Callable[..., Callable[[Command], Command]]:
    """Return what declares options as click.option does, under a heading of --help; one of `cli.helping.HEADINGS`."""
    return partial(click.option, cls=Option, heading=heading)


def stacked(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that applies several, so that --help lists their options in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Take names separated by commas."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Take numbers separated by commas.

    Raises:
        click.BadParameter: they are none.
    """
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of numbers such as 1,.5,1.5,2", ctx, param) from None
