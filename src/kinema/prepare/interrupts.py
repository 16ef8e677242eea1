"""Long work that an interrupt or SIGTERM ends soon, whatever it is at."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 1.6
"""Seconds from a signal to the end of the process, where the block has not ended by itself."""


@contextmanager
def soon_interrupted(clean_up: Callable[[], None]) -> Iterator[None]:
    """SIGTERM ends the block as an interrupt does, with the exit code that shells give it; both within two seconds.

    Python acts on a signal only between two of its own steps. A library may compute for longer than anyone would wait:
    then a thread calls `clean_up` and ends the process, and other processes of `in_parallel` end with it. Called from
    another thread than the main one, which gets no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signals, noted = socket.socketpair()
    noted.setblocking(False)
    ended = threading.Event()
    watch = threading.Thread(target=_end_in_time, args=(signals, ended, clean_up), daemon=True)
    handler = signal.signal(signal.SIGTERM, stop)
    before = signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGTERM, handler)
        noted.close()
        watch.join()
        signals.close()


def _end_in_time(signals: socket.socket, ended: threading.Event, clean_up: Callable[[], None]) -> None:
    """Wait for a signal, or for the end of the block, which closes the other side."""
    while came := signals.recv(1):
        if came[0] in (signal.SIGINT, signal.SIGTERM) and not ended.wait(PATIENCE):
            clean_up()
            print("kinema: interrupted", file=sys.stderr, flush=True)
            os._exit(128 + came[0])
