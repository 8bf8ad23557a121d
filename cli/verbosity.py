"""How much a command says: -q the result and errors alone, -v also what is decided on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_QUIET, _VERBOSE = "lpcam.quiet", "lpcam.verbose"
_NAMED = ("lpcam", "torch", "torchvision", "numpy", "faiss-gpu", "faiss-cpu", "timm")


def is_quiet() -> bool:
    """Return whether only the result and errors are to be said."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def _choose_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        _choose(ctx, _QUIET)


def _choose_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Show, from here on, what the library decides; `own_logging` ends it."""
    if not value or ctx.meta.get(_VERBOSE):
        return
    _choose(ctx, _VERBOSE)
    logger = logging.getLogger("lpcam")
    logger.setLevel(logging.DEBUG)
    logger.getChild("versions").info("%s", _versions())


@contextmanager
def own_logging() -> Iterator[None]:
    """Show the library's warnings (for whom it waits, say) while a command runs, and leave its loggers as they were."""
    logger = logging.getLogger("lpcam")
    handlers, level = list(logger.handlers), logger.level
    logger.addHandler(_OnStderr())
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


_VERBOSE_OPTION = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_choose_verbose,
    help="Say on stderr what is decided on the way.",
)
_QUIET_OPTION = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_choose_quiet,
    help="Print the result line and errors alone.",
)


def verbosity_options(command: Command) -> Command:
    """Let a command take -v and -q."""
    return _VERBOSE_OPTION(_QUIET_OPTION(command))


class _OnStderr(logging.Handler):
    """Prints records where stderr is at that time: above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        room = "" if record.levelno >= logging.WARNING else f"{record.name.removeprefix('lpcam.')}: "
        click.echo(f"{room}{record.getMessage()}", err=True)


def _choose(ctx: click.Context, name: str) -> None:
    ctx.meta[name] = True
    if ctx.meta.get(_QUIET) and ctx.meta.get(_VERBOSE):
        raise click.UsageError("--quiet and --verbose are opposites: give one of them", ctx)


def _versions() -> str:
    import platform

    found = [f"{name} {installed}" for name in _NAMED if (installed := _version(name)) is not None]
    return ", ".join([*found, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"])


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
