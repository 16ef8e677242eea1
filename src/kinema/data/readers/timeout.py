"""Time limit for reading one video."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from kinema.errors import MediaError


class TimeLimit(MediaError):  # noqa: N818 - a fault of the video, as all of its base
    """Reading a video took too long."""


_AGAIN = 1.0  # seconds; code on the way out may swallow one exception (`__del__` does), hardly every one
_Result = TypeVar("_Result")


def within(seconds: float, path: str, read: Callable[[], _Result]) -> _Result:
    """Return `read()`, or raise if reading the video `path` takes longer than `seconds`; 0: no limit.

    A timer sends SIGALRM, and its handler raises in the Python code that then runs: between two packets or frames of
    PyAV or two images; system calls that wait for a file, a pipe or a server are interrupted too. It works in loader
    workers and without any, and costs microseconds. A library call that computes is not interrupted: torchcodec decodes
    all frames of a clip in one call, and the limit applies after it. A thread for each video could not be ended either,
    and a process for each would cost its start and a copy of the clip.

    Signals are delivered to the main thread: in other threads, and on Windows, there is no limit. An earlier timer
    continues afterwards. This is no context manager, since the alarm may arrive while `with` is left, before `__exit__`
    could disable it.

    Raises:
        TimeLimit: `read` took too long. It is no OSError or RuntimeError, which readers take for faults of a file.
    """
    if not seconds or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return read()
    rang = False

    def give_up(_number: int, _frame: FrameType | None) -> None:
        nonlocal rang
        rang = True
        raise too_long()

    def too_long() -> TimeLimit:
        return TimeLimit(path, f"reading it took longer than {seconds:g} s (--data.decode-timeout)")

    started = time.monotonic()
    delay, interval = signal.getitimer(signal.ITIMER_REAL)
    handler = signal.signal(signal.SIGALRM, give_up)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            return read()
        except Exception:
            # Of a call that the alarm ended, a library may say anything.
            if rang:
                raise too_long() from None
            raise
        finally:  # the alarm may ring right here, hence the second time below
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if delay:
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - started), 1e-6), interval)
