"""Prompt end of long work on an interrupt or SIGTERM, even inside library code that does not return."""

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
"""Seconds from a signal until the process is ended, if the block has not ended by itself."""

_OWN_PROCESS = ContextVar("own_process", default=False)


@contextmanager
def own_process() -> Iterator[None]:
    """Allow `soon_interrupted` to end the process, which runs a single command and no other code of a user."""
    token = _OWN_PROCESS.set(True)
    try:
        yield
    finally:
        _OWN_PROCESS.reset(token)


@contextmanager
def soon_interrupted(clean_up: Callable[[], None]) -> Iterator[None]:
    """End the block on SIGTERM as on an interrupt, with the usual exit code of 128 + the signal's number.

    Python handles a signal only between two bytecode instructions, which a call into a library may delay by minutes.
    Inside `own_process`, a thread therefore calls `clean_up` and ends the process and its children `PATIENCE` seconds
    after the signal. Outside the main thread, which alone handles signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, _exit)
    try:
        with _watched(clean_up) if _OWN_PROCESS.get() else nullcontext():
            yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _watched(clean_up: Callable[[], None]) -> Iterator[None]:
    signals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    ended = threading.Event()
    watch = threading.Thread(target=_exit_after_patience, args=(signals, ended, clean_up), daemon=True)
    previous = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(previous)
        wakeup.close()
        watch.join()
        signals.close()


def _exit_after_patience(signals: socket.socket, ended: threading.Event, clean_up: Callable[[], None]) -> None:
    """Wait for a signal, or for the end of the block, which closes the other socket."""
    while received := signals.recv(1):
        if received[0] in (signal.SIGINT, signal.SIGTERM) and not ended.wait(PATIENCE):
            for process in active_children():  # first, as one that is starting would find its pipe broken
                process.kill()
            clean_up()
            print("kinema: interrupted", file=sys.stderr, flush=True)
            os._exit(128 + received[0])
