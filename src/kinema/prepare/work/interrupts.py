"""Long work that an interrupt or SIGTERM ends soon, whatever it is at."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from multiprocessing import active_children
from types import FrameType

PATIENCE = 1.6
"""Seconds from a signal to the end of the process, where the block has not ended by itself."""


_OWN_PROCESS = ContextVar("own_process", default=False)


@contextmanager
def own_process() -> Iterator[None]:
    """In this block the process serves one command, and may be ended for it: it is no notebook, no other program."""
    token = _OWN_PROCESS.set(True)
    try:
        yield
    finally:
        _OWN_PROCESS.reset(token)


@contextmanager
def soon_interrupted(clean_up: Callable[[], None]) -> Iterator[None]:
    """SIGTERM ends the block as an interrupt does, with the exit code that shells give it.

    Python acts on a signal only between two of its own steps. A library may compute for longer than anyone would wait:
    in a process of the command's own, a thread then calls `clean_up` and ends the process, two seconds after the signal
    at the latest; other processes of `in_parallel` end with it. Called from another thread than the main one, which
    gets no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, _stop)
    try:
        with _watched(clean_up) if _OWN_PROCESS.get() else nullcontext():
            yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _watched(clean_up: Callable[[], None]) -> Iterator[None]:
    signals, noted = socket.socketpair()
    noted.setblocking(False)
    ended = threading.Event()
    watch = threading.Thread(target=_end_in_time, args=(signals, ended, clean_up), daemon=True)
    before = signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        noted.close()
        watch.join()
        signals.close()


def _end_in_time(signals: socket.socket, ended: threading.Event, clean_up: Callable[[], None]) -> None:
    """Wait for a signal, or for the end of the block, which closes the other side."""
    while came := signals.recv(1):
        if came[0] in (signal.SIGINT, signal.SIGTERM) and not ended.wait(PATIENCE):
            for process in active_children():  # before one that is being started finds its pipe broken
                process.kill()
            clean_up()
            print("kinema: interrupted", file=sys.stderr, flush=True)
            os._exit(128 + came[0])
