"""Exit codes: 0 done, 1 an error the user can fix, 2 usage, 3 finished but some images failed."""

from __future__ import annotations

from types import TracebackType

import click

from lpcam.errors import LpcamError

SOME_IMAGES_FAILED = 3


class ErrorLine:
    """Turns an LpcamError into one line and exit code 1; anything else keeps its traceback."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn the error into what click prints."""
        if isinstance(error, LpcamError):
            raise click.ClickException(" ".join(str(error).split())) from error
        if isinstance(error, KeyboardInterrupt):
            raise click.ClickException("interrupted: run the same command again to continue") from error
