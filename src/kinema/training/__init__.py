"""The loop, and what it needs to run on many devices, to stop at any moment and to continue exactly."""

from kinema.training.config import Config, TrainingOptions
from kinema.training.loop import InterruptedRun, train
from kinema.training.multigrid import Multigrid
from kinema.training.optim import SGD, AdamW
from kinema.training.schedule import CosineSchedule, StepSchedule

__all__ = [
    "SGD",
    "AdamW",
    "Config",
    "CosineSchedule",
    "InterruptedRun",
    "Multigrid",
    "StepSchedule",
    "TrainingOptions",
    "train",
]
