"""Order of a process's training samples."""

from kinema.data.loader import TrainBatches
from kinema.data.timetable import Timetable
from kinema.runtime.processes import Process
from kinema.training.config import AnyConfig


def train_order(
    config: AnyConfig, num_videos: int, timetable: Timetable, process: Process, *, first_step: int
) -> TrainBatches:
    """Return the batch sampler of this process, starting at step `first_step`; determined by the seed alone."""
    return TrainBatches(
        num_videos,
        config.data.batch_size,
        timetable,
        seed=config.training.seed,
        accumulate=config.training.accumulate,
        rank=process.rank,
        world=process.world,
        first_step=first_step,
    )
