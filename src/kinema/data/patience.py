"""Waiting for a storage that does not answer, so that no video is taken for a bad one meanwhile."""

import logging
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing.context import assert_spawning
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from kinema.data.readers.timeout import TimeLimit, within
from kinema.errors import MediaError, StorageOutage
from kinema.storage import Direct, check_outage, is_url

log = logging.getLogger(__name__)

WITHOUT_OPTION = 60.0
"""Seconds to wait in commands that answer about single videos."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds
_PROBE = 10.0  # seconds for a server to say how long a file is
_BLOCK = 1 << 20
_Result = TypeVar("_Result")


class Patience:
    """Reads again while the storage does not answer, with longer and longer pauses.

    The loader workers of a process share one: the first of them to meet an outage says so, and the first to read again.
    """

    def __init__(self, seconds: float, *, option: str = "--data.storage.patience") -> None:
        """`seconds` is how long one reading may fail before it is given up; `option` sets it, if there is one."""
        self._seconds = seconds
        self._how_long = f"{seconds:g} s" + (f" ({option})" if option else "")
        self._began = _shared_time()

    def __getstate__(self) -> dict[str, Any]:
        try:
            assert_spawning(self)
        except RuntimeError:  # pickled for a process that does not inherit from this one: it counts for itself
            return {**vars(self), "_began": None}
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._began = self._began or _shared_time()

    def through(self, read: Callable[[], _Result]) -> _Result:
        """What `read` returns; it is called again while it raises StorageOutage.

        Raises:
            StorageOutage: it has raised that for as long as patience lasts.
        """
        try:
            return read()
        except StorageOutage as outage:
            return self._again(outage, read)

    def _again(self, outage: StorageOutage, read: Callable[[], _Result]) -> _Result:
        given_up, pause = time.monotonic() + self._seconds, _FIRST_PAUSE
        self._say(outage)
        while (left := given_up - time.monotonic()) > 0:
            # Not all processes of a run at the same moment. Python's global generator is left alone: it is the user's.
            _sleep(min(left, pause * random.SystemRandom().uniform(0.5, 1)))
            try:
                result = read()
            except StorageOutage as another:
                outage, pause = another, min(2 * pause, _LONGEST_PAUSE)
            else:
                self._say_over()
                return result
        raise StorageOutage(f"{outage}; the storage did not answer for {self._how_long}")

    def _say(self, outage: StorageOutage) -> None:
        with self._began.get_lock():
            known = self._began.value > 0
            self._began.value = self._began.value or time.monotonic()
        if not known:
            log.warning("the storage does not answer, it is tried again for up to %s: %s", self._how_long, outage)

    def _say_over(self) -> None:
        with self._began.get_lock():
            began, self._began.value = self._began.value, 0.0
        if began:
            log.warning("the storage answers again, after %.0f s", time.monotonic() - began)


def patiently(read: Callable[[], _Result]) -> _Result:
    """What `read` returns, in a command without an option for patience; see `Patience.through`."""
    return Patience(WITHOUT_OPTION, option="").through(read)


def check_storage_of(path: str, fault: MediaError, *, limit: float) -> None:
    """Check whether the storage caused the fault of a file.

    Decoders read local files themselves, and report a failing disk as a damaged file: a file that could not be decoded
    is read once more, to its end, within `limit` seconds (0: no limit). After a time-out a server is asked for the
    length of the file.

    Raises:
        StorageOutage: The storage does not answer.
    """
    if is_url(path):
        if isinstance(fault, TimeLimit):
            try:
                within(_PROBE, path, partial(Direct().size, path))
            except TimeLimit:
                raise StorageOutage(f"{path}: {fault.reason}, and the server does not say how long it is") from None
            except OSError:
                pass
    elif not isinstance(fault, TimeLimit) and Path(path).is_file():
        with suppress(MediaError):
            within(limit, path, partial(_read_to_end, path))


def _read_to_end(path: str) -> None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - alike for all kinds of paths
            while file.read(_BLOCK):
                pass
    except OSError as error:
        check_outage(path, error)


def _shared_time() -> Any:
    """When the present outage began, by the clock that all processes share; 0: there is none."""
    try:
        return multiprocessing.Value("d", 0.0)
    except OSError:  # no room for a semaphore in /dev/shm: whoever starts workers will say so
        return SimpleNamespace(value=0.0, get_lock=nullcontext)


def _sleep(seconds: float) -> None:
    """Sleep, unless the process that this one works for is gone."""
    end, parent = time.monotonic() + seconds, multiprocessing.parent_process()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))
        if parent is not None and not parent.is_alive():
            os._exit(1)
