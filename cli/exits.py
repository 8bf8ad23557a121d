"""Exit codes: 0 done, 1 an error the user can fix, 2 usage, 3 finished but some images failed."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

import click

from lpcam.errors import LpcamError, of_system

SOME_IMAGES_FAILED = 3

_LOG = logging.getLogger("lpcam.cli")


class ErrorLine:
    """Turns an LpcamError, and what the machine refuses, into one line and exit code 1; a bug keeps its traceback."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn the error into what click prints."""
        if _is_of_torch(error):
            error = MemoryError()
        if isinstance(error, OSError | MemoryError) and not isinstance(error, BrokenPipeError):
            _LOG.debug("where it happened", exc_info=error)
            error = of_system(error)
        if isinstance(error, LpcamError):
            raise click.ClickException(" ".join(str(error).split())) from error
        if isinstance(error, KeyboardInterrupt):
            raise click.ClickException("interrupted: run the same command again to continue") from error


def _is_of_torch(error: BaseException | None) -> bool:
    """Return whether torch, where it is loaded, says in its own words that memory is short."""
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return False
    from lpcam.memory import is_out_of_memory

    return is_out_of_memory(error)
