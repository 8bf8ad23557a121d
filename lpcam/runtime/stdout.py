"""What libraries written in C print on stdout, which belongs to a command's result."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDOUT = 1  # its file descriptor: what is printed in C knows nothing of sys.stdout

_LOG = logging.getLogger(__name__)


@contextmanager
def stdout_of_c_logged() -> Iterator[None]:
    """Take what is printed on stdout inside, in C or C++, out of the way; ``-v`` shows it, line by line.

    Stdout is of the whole process: what other threads print there in the meantime goes the same way.

    >>> with stdout_of_c_logged():
    ...     number = os.write(1, b"The device supports: i8sdot:0")
    """
    _flush()
    kept = os.dup(_STDOUT)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), _STDOUT)
        try:
            yield
        finally:
            _flush()  # C keeps what it printed, and would write it where stdout leads then
            os.dup2(kept, _STDOUT)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                _LOG.debug("%s", line)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)
