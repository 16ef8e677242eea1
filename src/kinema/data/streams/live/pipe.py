"""Standard input as a file that a stop interrupts."""

import os
import select
import sys
from collections.abc import Callable

_POLL = 0.1
"""Seconds between two looks at whether to stop."""


class PipeReader:
    """The bytes of a file descriptor, read as they come; not seekable.

    Args:
        descriptor: Of a pipe, a socket or a file.
        stopped: Whether to end before the pipe does.
        on_silence: Called once for each silence of `timeout` seconds. The wait goes on: a pipe cannot be reopened.
        timeout: In seconds.
    """

    name = "-"

    def __init__(
        self, descriptor: int, *, stopped: Callable[[], bool], on_silence: Callable[[], None], timeout: float
    ) -> None:
        self._descriptor, self._stopped, self._on_silence = descriptor, stopped, on_silence
        self._timeout = timeout

    def read(self, size: int) -> bytes:
        """Return at least one and at most `size` bytes; none at the end of the pipe, or if stopped."""
        waited = 0.0
        while sys.platform != "win32" and not select.select([self._descriptor], [], [], _POLL)[0]:
            if self._stopped():
                return b""
            if waited < self._timeout <= waited + _POLL:
                self._on_silence()
            waited += _POLL
        return b"" if self._stopped() else os.read(self._descriptor, size)
