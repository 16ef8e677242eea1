"""What the processes of a training tell each other, and what a scheduler tells them."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kinema.data.bad_files import all_gather_bad_files
from kinema.data.batch import BadFile
from kinema.errors import EXIT_TEMPORARY, StorageOutage
from kinema.runtime.processes import outage_shared

B = TypeVar("B")

log = logging.getLogger(__name__)

EXIT_REQUEUE = EXIT_TEMPORARY
"""Exit code of a run that was asked to stop and saved itself (EX_TEMPFAIL): start the same command with --resume."""
EXIT_INTERRUPTED = 130
"""Exit code of a run that saved itself after Ctrl-C, as shells give it (128 + SIGINT)."""


class InterruptedRun(Exception):  # noqa: N818 - nothing went wrong
    """The run was asked to stop and has saved what it needs to continue."""

    def __init__(self, message: str, *, exit_code: int = EXIT_REQUEUE) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """What the process ends with: `EXIT_REQUEUE`, or `EXIT_INTERRUPTED` after Ctrl-C."""


class StopRequest:
    """Remembers that this process was asked to stop.

    By SIGTERM, by SIGUSR1, which Slurm can send before it, or by Ctrl-C (SIGINT); a second Ctrl-C raises
    `KeyboardInterrupt` at once.
    """

    def __init__(self) -> None:
        self.received = False
        self._waiting_since: float | None = None
        self.exit_code = EXIT_REQUEUE

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take the signals while the block runs; elsewhere than in the main thread, none."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = [signal.SIGTERM, signal.SIGINT]
        if hasattr(signal, "SIGUSR1"):
            numbers.append(signal.SIGUSR1)
        before = {number: signal.signal(number, self._take) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.received:
                raise KeyboardInterrupt
            self.exit_code = EXIT_INTERRUPTED
            log.warning("saving the run before it ends; press Ctrl-C again to end at once")
        self.received = True
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > _ORDINARY_WAIT:
            raise _StopWaiting

    @contextmanager
    def ending_wait(self) -> Iterator[None]:
        """Let a signal end the block, which waits for data, once it takes longer than batches usually do.

        Raises:
            StorageOutage: a signal has ended it.
        """
        self._waiting_since = time.monotonic()
        try:
            yield
        except _StopWaiting:
            raise StorageOutage("asked to stop while waiting for data") from None
        finally:
            self._waiting_since = None


class _StopWaiting(BaseException):
    """No Exception, which whatever reads the data may take for a fault of a file."""


_ORDINARY_WAIT = 5.0  # seconds


def next_batch(batches: Iterator[B], stop: StopRequest | None = None) -> B:
    """The next batch of this process, once all processes have theirs; `stop` may end the wait for it.

    Raises:
        StorageOutage: in all processes, when the storage did not answer one of them, or one was asked to stop.
    """
    batch: B | None = None
    with outage_shared(), stop.ending_wait() if stop is not None else nullcontext():
        batch = next(batches)
    assert batch is not None
    return batch


def raise_if_stop_requested(stop: "StopRequest") -> None:
    """End all processes where one of them was asked to stop; called by all.

    Raises:
        InterruptedRun: one was asked.
    """
    if synchronize(stop.received, [])[0]:
        raise InterruptedRun("stopped as asked; the same command with --resume continues", exit_code=stop.exit_code)


def synchronize(stop: bool, bad: list[BadFile]) -> tuple[bool, list[BadFile]]:
    """What any process has met, told to all: whether to stop, and the bad files. Called by all at each step."""
    if not dist.is_initialized():
        return stop, bad
    news = torch.tensor([int(stop), len(bad)])
    dist.all_reduce(news)
    return bool(news[0]), all_gather_bad_files(bad) if news[1] else []


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor of figures over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the first one's buffers (batch-norm statistics), so that all test the same model."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
