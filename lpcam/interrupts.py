"""Ctrl-C: the first lets a stage finish what it has in hand, the second ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LOG = logging.getLogger(__name__)


_BOUNCE = 0.5  # seconds in which a second signal is the same press: some programs send it to a process and its group


class _State:
    asked = False


@contextmanager
def deferred(what: str) -> Iterator[None]:
    """Let the first Ctrl-C inside only be noted; `stop_here` then ends the work where nothing is lost.

    Outside the main thread, and where somebody else already handles the signal, nothing changes.

    Args:
        what: Is finished first, such as ``the shard in hand``.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    pressed = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if _State.asked and time.monotonic() - pressed > _BOUNCE:
            raise KeyboardInterrupt
        if _State.asked:
            return
        _State.asked, pressed = True, time.monotonic()
        _LOG.warning("finishing %s: Ctrl-C again to stop at once", what)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _State.asked = False


def asked() -> bool:
    """Return whether Ctrl-C was noted."""
    return _State.asked


def stop_here() -> None:
    """Raise KeyboardInterrupt where Ctrl-C was noted."""
    if _State.asked:
        raise KeyboardInterrupt
