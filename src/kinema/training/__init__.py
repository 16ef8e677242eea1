"""The loop, and what it needs to run on many devices, to stop at any moment and to continue exactly."""

from kinema.training.config import (
    AnyConfig,
    BSNConfig,
    Config,
    LocalizationConfig,
    PGMConfig,
    RecipeConfig,
    Stage,
    TrainingOptions,
)
from kinema.training.distributed import EXIT_REQUEUE, InterruptedRun
from kinema.training.entry import default_work_dir, train
from kinema.training.loop import open_task
from kinema.training.multigrid import Multigrid
from kinema.training.optim import SGD, Adam, AdamW
from kinema.training.schedule import CosineSchedule, StepSchedule
from kinema.training.setup import read_resumed, resumable_config

__all__ = [
    "EXIT_REQUEUE",
    "SGD",
    "Adam",
    "AdamW",
    "AnyConfig",
    "BSNConfig",
    "Config",
    "CosineSchedule",
    "InterruptedRun",
    "LocalizationConfig",
    "Multigrid",
    "PGMConfig",
    "RecipeConfig",
    "Stage",
    "StepSchedule",
    "TrainingOptions",
    "default_work_dir",
    "open_task",
    "read_resumed",
    "resumable_config",
    "train",
]
