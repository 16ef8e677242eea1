"""Order of samples and data loaders, reproducible for any number of processes and workers."""

import errno
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from kinema.data.samples import Batch, SampleDataset, SampleKey
from kinema.data.timetable import Timetable
from kinema.errors import StorageOutage, UserError

X = TypeVar("X")
Y = TypeVar("Y")
B = TypeVar("B")


class TrainBatches(Sampler[list[SampleKey]]):
    """Sample keys of one process's training batches: a permutation per epoch, split among `world` processes.

    A step is `accumulate` batches in each process. From `first_step` on, the batches are those of an uninterrupted run.
    With `labels` (N,), all classes are equally frequent in an epoch; see `balanced_order`.
    """

    def __init__(
        self, num_videos: int, batch_size: int, timetable: Timetable, *, seed: int, accumulate: int = 1, rank: int = 0,
        world: int = 1, first_step: int = 0, labels: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self._labels = labels
        self._num_videos, self._batch_size, self._timetable, self._seed = num_videos, batch_size, timetable, seed
        self._accumulate, self._rank, self._world, self._first_step = accumulate, rank, world, first_step

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, taken = -1, 0
        for step in range(self._first_step, self._timetable.steps):
            current, in_epoch = self._timetable.epoch_step(step)
            shape = self._timetable.batch_shape(step)
            if current != epoch:
                order, epoch = self._order(np.random.default_rng([self._seed, current])), current
                taken = sum(map(self._videos_of_step, range(step - in_epoch, step)))
            end = taken + self._videos_of_step(step)
            rows, taken = order[taken:end][self._rank :: self._world], end
            for batch in rows.reshape(self._accumulate, -1, 2):
                yield [SampleKey(epoch, row, shape.variant, repeat) for row, repeat in batch.tolist()]

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of an epoch and how often each was taken before, (N, 2)."""
        if self._labels is not None:
            return balanced_order(self._labels, rng)
        rows = rng.permutation(self._num_videos)
        return np.stack([rows, np.zeros_like(rows)], axis=1)

    def _videos_of_step(self, step: int) -> int:
        """Return the videos of a step, over all processes and accumulated batches."""
        return self._timetable.batch_shape(step).factor * self._batch_size * self._world * self._accumulate


def balanced_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return as many rows as there are labels, in random order, of which each class has an equal share.

    Videos of rare classes are repeated, all equally often up to one; of frequent classes some are left out, drawn at
    random. Where the number of rows is no multiple of that of the classes, random classes have one row more.

    Returns:
        (N, 2): row, and how often it was taken before.
    """
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.unique(labels, return_counts=True)[1])[:-1])
    shares = np.full(len(by_class), len(labels) // len(by_class))
    shares[rng.permutation(len(by_class))[: len(labels) % len(by_class)]] += 1
    parts = []
    for rows, share in zip(by_class, shares.tolist(), strict=True):
        turns = -(-share // len(rows))
        taken = np.concatenate([rng.permutation(rows) for _ in range(turns)])[:share] if turns else rows[:0]
        parts.append(np.stack([taken, np.arange(share) // len(rows)], axis=1))
    return rng.permutation(np.concatenate(parts))


class RowBatches(Sampler[list[SampleKey]]):
    """Sample keys of evaluation batches of the given rows, each once, in their order."""

    def __init__(self, rows: Sequence[int], batch_size: int) -> None:
        self._rows = rows
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(0, len(self._rows), self._batch_size):
            yield [SampleKey(0, row) for row in self._rows[first : first + self._batch_size]]


class EvalBatches(RowBatches):
    """Sample keys of one process's evaluation batches: every video once, split among `world` processes, unpadded."""

    def __init__(self, num_videos: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        super().__init__(range(rank, num_videos, world), batch_size)


def load(
    dataset: SampleDataset[X, Y], batches: Sampler[list[SampleKey]], *, workers: int, pin: bool = False
) -> DataLoader[Batch[Y]]:
    """Return a loader of batches of `dataset`, read in `workers` processes (0: in this one).

    `pin` is for asynchronous copies to a GPU. A UserError or StorageOutage that `dataset` raises in a worker is raised
    here with the same message.
    """
    # torch types a loader by its samples; this one's batches are of another type, returned by `__getitems__`.
    return _Loader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_signals_to_parent,
    )


def _identity(batch: B) -> B:
    return batch


class _Loader(DataLoader[B]):
    """Raises the UserError or StorageOutage of a worker without the traceback that torch adds to its message."""

    def __iter__(self) -> Iterator[B]:  # type: ignore[override]
        # Here, not at the first batch: torch draws a seed from the global generator, which each step reseeds.
        try:
            return _original_errors(super().__iter__())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UserError(_NO_SHARED_MEMORY) from error


_NO_SHARED_MEMORY = (
    "the loader workers have no shared memory: /dev/shm is full, or too small. Give a container more (docker run "
    "--shm-size 8g, or --ipc host), or load in the training process itself with --data.workers 0"
)
"""Queues between processes keep semaphores there; batches only on systems without memfd."""


def _original_errors(batches: Iterator[B]) -> Iterator[B]:
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


def _leave_signals_to_parent(_worker: int) -> None:
    """Ignore signals of schedulers, torchrun and Ctrl-C, which reach all processes: training still needs its batches.

    A worker exits when its parent tells it to, or is gone. A parent that fails sends SIGTERM and waits for the worker.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an ignored signal cannot be waited for
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_exit_on_sigterm, args=(multiprocessing.parent_process(),), daemon=True).start()


def _exit_on_sigterm(parent: BaseProcess) -> None:
    """Exit when the parent process sends SIGTERM."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        pass
    os._exit(0)


def num_workers(workers: int | Literal["auto"], processes: int = 1) -> int:
    """Return the number of workers; auto: the share of the CPU cores of each of `processes`, at most 16."""
    if workers != "auto":
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores // processes)
