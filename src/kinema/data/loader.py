"""Order of samples and data loaders, reproducible for any number of processes and workers."""

import errno
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Literal, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from kinema.data.batch import SampleKey
from kinema.data.timetable import Timetable
from kinema.errors import StorageOutage, UserError

S = TypeVar("S")
B = TypeVar("B")


class TrainBatches(Sampler[list[SampleKey]]):
    """Sample keys of one process's training batches: a permutation per epoch, split among `world` processes.

    A step is `accumulate` batches in each process. From `first_step` on, the batches are those of an uninterrupted run.
    """

    def __init__(
        self, num_videos: int, batch_size: int, timetable: Timetable, *, seed: int, accumulate: int = 1, rank: int = 0,
        world: int = 1, first_step: int = 0,
    ) -> None:  # fmt: skip
        self._num_videos, self._batch_size, self._timetable, self._seed = num_videos, batch_size, timetable, seed
        self._accumulate, self._rank, self._world, self._first_step = accumulate, rank, world, first_step

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, taken = -1, 0
        for step in range(self._first_step, self._timetable.steps):
            current, in_epoch = self._timetable.epoch_step(step)
            shape = self._timetable.batch_shape(step)
            if current != epoch:
                order, epoch = np.random.default_rng([self._seed, current]).permutation(self._num_videos), current
                taken = sum(map(self._videos_of_step, range(step - in_epoch, step)))
            end = taken + self._videos_of_step(step)
            rows, taken = order[taken:end][self._rank :: self._world], end
            for batch in rows.reshape(self._accumulate, -1):
                yield [SampleKey(epoch, int(row), shape.variant) for row in batch]

    def _videos_of_step(self, step: int) -> int:
        """Return the videos of a step, over all processes and accumulated batches."""
        return self._timetable.batch_shape(step).factor * self._batch_size * self._world * self._accumulate


class EvalBatches(Sampler[list[SampleKey]]):
    """Sample keys of one process's evaluation batches: every video once, split among `world` processes, unpadded."""

    def __init__(self, num_videos: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self._mine = range(rank, num_videos, world)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._mine) // self._batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(0, len(self._mine), self._batch_size):
            yield [SampleKey(0, row) for row in self._mine[first : first + self._batch_size]]


def load(
    dataset: Dataset[S],
    batches: Sampler[list[SampleKey]],
    *,
    collate: Callable[[Sequence[S]], B] | None = None,
    workers: int,
    pin: bool = False,
) -> DataLoader[B]:
    """Make `batches` of `dataset` in `workers` processes (0: in this one); `pin` for copies to a GPU.

    `collate` makes a batch of samples; None: the dataset makes whole batches, by `__getitems__`.

    A UserError or StorageOutage that `dataset` raises is raised by the loader, in the same words.
    """
    # torch types a loader by its samples; this one's batches are another type, made by `collate`.
    return _Loader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate or _as_it_is,
        pin_memory=pin,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_signals_to_the_parent,
    )


def _as_it_is(batch: B) -> B:
    return batch


class _Loader(DataLoader[B]):
    """Raises the UserError or StorageOutage of a worker as it was there: torch adds the worker's traceback to it."""

    def __iter__(self) -> Iterator[B]:  # type: ignore[override]
        # At once, not at the first batch: torch draws a seed from the global generator here, which a step seeds anew.
        try:
            return _in_own_words(super().__iter__())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UserError(_NO_SHARED_MEMORY) from error


_NO_SHARED_MEMORY = (
    "the loader workers have no shared memory: /dev/shm is full, or too small. Give a container more (docker run "
    "--shm-size 8g, or --ipc host), or load in the training process itself with --data.workers 0"
)
"""Queues between processes have semaphores there; batches only where the system has nothing else."""


def _in_own_words(batches: Iterator[B]) -> Iterator[B]:
    try:
        yield from batches
    except RuntimeError as error:
        if not re.search(r"shared memory|\bshm\b|Bus error", str(error)):
            raise
        raise UserError(_NO_SHARED_MEMORY) from error
    except (UserError, StorageOutage) as error:
        kind = type(error)
        before_message = f"{kind.__module__}.{kind.__qualname__}: "
        raise kind(str(error).rpartition(before_message)[2].rstrip()) from None


def _leave_signals_to_the_parent(_worker: int) -> None:
    """A scheduler, torchrun and Ctrl-C signal all processes at once; the training process still needs its batches then.

    A worker ends when its parent says so, or is gone. A parent that fails says so by SIGTERM, and waits for it.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # one that is ignored is not waited for
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        pass
    os._exit(0)


def num_workers(workers: int | Literal["auto"], processes: int = 1) -> int:
    """`auto` as a number: the cores that this machine gives each of `processes` training processes, at most 16."""
    if workers != "auto":
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores // processes)
