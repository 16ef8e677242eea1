"""Batches in an order that depends on nothing but the seed, for any number of processes and workers."""

import os
import signal
from collections.abc import Iterator
from itertools import count
from typing import Literal

import numpy as np
from torch.utils.data import DataLoader, Sampler

from kinema.data.batch import Batch, SampleKey, collate
from kinema.data.dataset import VideoDataset
from kinema.errors import UserError


class TrainBatches(Sampler[list[SampleKey]]):
    """Endless batches of one process: each epoch a new permutation, dealt out to the processes.

    What does not fill a step (a batch in every process, `accumulate` times) is left out of that epoch. Starting at
    batch `start` gives exactly what an uninterrupted run would have seen from there.
    """

    def __init__(
        self, num_videos: int, batch_size: int, *, seed: int, accumulate: int = 1, rank: int = 0, world: int = 1,
        start: int = 0,
    ) -> None:  # fmt: skip
        self.steps_per_epoch = num_videos // (batch_size * world * accumulate)
        self.per_epoch = self.steps_per_epoch * accumulate
        if self.per_epoch == 0:
            times = f" {accumulate} times" if accumulate > 1 else ""
            raise UserError(
                f"{num_videos} training videos do not fill a batch of {batch_size} in each of {world} process(es)"
                f"{times}: use --data.batch-size {max(num_videos // (world * accumulate), 1)} or less"
            )
        self._num_videos, self._batch_size, self._seed = num_videos, batch_size, seed
        self._rank, self._world, self._start = rank, world, start

    def __iter__(self) -> Iterator[list[SampleKey]]:
        first_epoch, skipped = divmod(self._start, self.per_epoch)
        for epoch in count(first_epoch):
            order = np.random.default_rng([self._seed, epoch]).permutation(self._num_videos)
            mine = order[: self.per_epoch * self._batch_size * self._world][self._rank :: self._world]
            for rows in mine.reshape(self.per_epoch, self._batch_size)[skipped:]:
                yield [SampleKey(epoch, int(row)) for row in rows]
            skipped = 0


class EvalBatches(Sampler[list[SampleKey]]):
    """Every video once, dealt out to the processes without padding: no video counts twice."""

    def __init__(self, num_videos: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self._mine = range(rank, num_videos, world)
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._mine) // self._batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(0, len(self._mine), self._batch_size):
            yield [SampleKey(0, row) for row in self._mine[first : first + self._batch_size]]


def load(
    dataset: VideoDataset, batches: Sampler[list[SampleKey]], *, workers: int, pin: bool = False
) -> DataLoader[Batch]:
    """Make `batches` of `dataset` in `workers` processes (0: in this one); `pin` for copies to a GPU."""
    # torch types a loader by its samples; this one's batches are another type, made by `collate`.
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_signals_to_the_parent,
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    """A scheduler, torchrun and Ctrl-C signal all processes at once; the training process still needs its batches then.

    A worker ends when its parent says so, or is gone.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def num_workers(workers: int | Literal["auto"], processes: int = 1) -> int:
    """`auto` as a number: the cores that this machine gives each of `processes` training processes, at most 16."""
    if workers != "auto":
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores // processes)
