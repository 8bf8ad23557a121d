"""Work in a process of its own, so that what is forked later does not inherit a process that has computed."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.context import BaseContext


def apart(context: BaseContext, work: Callable[..., object], *arguments: object) -> None:
    """Do the work in a process and wait for it.

    Raises:
        RuntimeError: it fails.
    """
    process = context.Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{work.__name__} ended with exit code {process.exitcode}")
