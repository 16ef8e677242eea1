"""Stop requests, and communication between the processes of a training run."""

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
from kinema.data.samples import BadFile
from kinema.errors import EXIT_TEMPORARY, StorageOutage
from kinema.runtime.processes import outage_shared

B = TypeVar("B")

log = logging.getLogger(__name__)

EXIT_REQUEUE = EXIT_TEMPORARY
"""Exit code of a run that saved a checkpoint after a stop request (EX_TEMPFAIL): --resume continues it."""
EXIT_INTERRUPTED = 130
"""Exit code of a run that saved a checkpoint after Ctrl-C (128 + SIGINT, as in shells)."""


class InterruptedRun(Exception):  # noqa: N818 - not an error
    """The run received a stop request and has saved a checkpoint to resume from."""

    def __init__(self, message: str, *, exit_code: int = EXIT_REQUEUE) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """`EXIT_REQUEUE`, or `EXIT_INTERRUPTED` after Ctrl-C."""


class StopRequest:
    """Whether this process has received SIGTERM, SIGUSR1 (sent by Slurm before a time limit) or SIGINT (Ctrl-C).

    A second Ctrl-C raises `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self.received = False
        self._waiting_since: float | None = None
        self.exit_code = EXIT_REQUEUE

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Handle the signals inside the block. Does nothing outside of the main thread."""
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
            log.warning("saving a checkpoint before exiting; press Ctrl-C again to exit immediately")
        self.received = True
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > _ORDINARY_WAIT:
            raise _StopWaiting

    @contextmanager
    def ending_wait(self) -> Iterator[None]:
        """Let a signal interrupt the block, which waits for a batch, once it has taken `_ORDINARY_WAIT` seconds.

        Raises:
            StorageOutage: a signal interrupted the block.
        """
        self._waiting_since = time.monotonic()
        try:
            yield
        except _StopWaiting:
            raise StorageOutage("asked to stop while waiting for data") from None
        finally:
            self._waiting_since = None


class _StopWaiting(BaseException):
    """Not an `Exception`, which data readers may handle as a bad file."""


_ORDINARY_WAIT = 5.0  # seconds


def next_batch(batches: Iterator[B], stop: StopRequest | None = None) -> B:
    """Return the next batch of this process once all processes have theirs; `stop` may interrupt the wait.

    Raises:
        StorageOutage: in all processes, if storage did not respond to one of them or one received a stop request.
    """
    batch: B | None = None
    with outage_shared(), stop.ending_wait() if stop is not None else nullcontext():
        batch = next(batches)
    assert batch is not None
    return batch


def raise_if_stop_requested(stop: "StopRequest") -> None:
    """Stop all processes if one of them received a stop request. Collective.

    Raises:
        InterruptedRun: a process received one.
    """
    if synchronize(stop.received, [])[0]:
        raise InterruptedRun("stopped as asked; the same command with --resume continues", exit_code=stop.exit_code)


def synchronize(stop: bool, bad: list[BadFile]) -> tuple[bool, list[BadFile]]:
    """Return whether any process should stop, and the bad files of all processes. Collective, once per step."""
    if not dist.is_initialized():
        return stop, bad
    counts = torch.tensor([int(stop), len(bad)])
    dist.all_reduce(counts)
    return bool(counts[0]), all_gather_bad_files(bad) if counts[1] else []


def mean_over_processes(values: Tensor) -> Tensor:
    """Average a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes. Collective."""
    total = values.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def same_number(value: float, device: torch.device) -> float:
    """Return the main process's value in all processes, so that they decide alike. Collective."""
    if dist.is_initialized():
        tensor = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(tensor, src=0)
        return tensor.item()
    return value


def mean_loss(sums: Tensor) -> float:
    """Return the mean loss over all processes of the sums [loss · weight, weight]; NaN where nothing was summed.

    Collective.
    """
    total, weight = mean_over_processes(sums.clone()).tolist()
    return total / weight if weight else float("nan")


def broadcast_buffers(model: nn.Module) -> None:
    """Broadcast the main process's buffers (batch-norm statistics), so that all processes validate the same model."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
