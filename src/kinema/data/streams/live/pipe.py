"""Pipes, sockets and other files that are read once, interrupted by a stop."""

import io
import os
import select
import sys
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from kinema.errors import UserError

_POLL = 0.1
"""Seconds between two looks at whether to stop."""


class PipeReader:
    """The bytes of a file, read as they come; not seekable.

    Args:
        file: The descriptor of a pipe, a socket or a file; or a binary file object. Those that `open` returns are
            waited for like descriptors; in the `read` of others, a stop is noticed when it returns.
        stopped: Whether to end before the pipe does.
        on_silence: Called once for each silence of `timeout` seconds. The wait goes on: a pipe cannot be reopened.
        timeout: In seconds.
    """

    name = "-"

    def __init__(
        self, file: int | BinaryIO, *, stopped: Callable[[], bool], on_silence: Callable[[], None], timeout: float
    ) -> None:
        self._descriptor = _descriptor(file)
        # read1 returns what is buffered, or what one call of the system returns; read waits for all of it.
        self._read = partial(os.read, file) if isinstance(file, int) else getattr(file, "read1", file.read)
        self._stopped, self._on_silence = stopped, on_silence
        self._timeout = timeout

    def read(self, size: int) -> bytes:
        """Return at least one and at most `size` bytes; none at the end of the pipe, or if stopped.

        Raises:
            UserError: The file is opened as text.
        """
        waited = 0.0
        while self._descriptor is not None and not select.select([self._descriptor], [], [], _POLL)[0]:
            if self._stopped():
                return b""
            if waited < self._timeout <= waited + _POLL:
                self._on_silence()
            waited += _POLL
        data = b"" if self._stopped() else self._read(size)
        if not isinstance(data, bytes):
            raise UserError('the file is opened as text: open it with mode "rb"')
        return data


def _descriptor(file: int | BinaryIO) -> int | None:
    """Return what can be waited for; None if nothing can."""
    if sys.platform == "win32":  # only sockets can
        return None
    if isinstance(file, int):
        return file
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    return file.fileno() if isinstance(raw, io.FileIO) else None
