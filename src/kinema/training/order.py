"""Batches of a process, and the order of its training samples."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from kinema.data.loader import TrainBatches, load, num_workers
from kinema.data.samples import Batch, SampleDataset, SampleKey
from kinema.data.timetable import Timetable
from kinema.runtime.processes import Process
from kinema.training.config import AnyConfig


def train_order(
    config: AnyConfig,
    num_videos: int,
    timetable: Timetable,
    process: Process,
    *,
    first_step: int,
    labels: NDArray[np.int64] | None = None,
) -> TrainBatches:
    """Return the batch sampler of this process, starting at step `first_step`; determined by the seed alone.

    With `labels` (num_videos,), all classes are equally frequent.
    """
    return TrainBatches(
        num_videos,
        config.data.batch_size,
        timetable,
        seed=config.training.seed,
        accumulate=config.training.accumulate,
        rank=process.rank,
        world=process.world,
        first_step=first_step,
        labels=labels,
    )


def load_batches(
    dataset: SampleDataset[Any, Any], order: Sampler[list[SampleKey]], workers: int | Literal["auto"], process: Process
) -> DataLoader[Batch[Any]]:
    """Return this process's batches in the given order, read by `workers` loader processes (see `num_workers`)."""
    return load(dataset, order, workers=num_workers(workers, process.local_world), pin=process.device.type == "cuda")
