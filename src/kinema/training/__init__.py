"""The training loop: distributed, interruptible at any step, resumed exactly."""

from kinema.training.config import Pipeline, RecipeConfig, TrainConfig, TrainingOptions
from kinema.training.distributed import EXIT_REQUEUE, InterruptedRun
from kinema.training.entry import default_work_dir, train
from kinema.training.optim import SGD, Adam, AdamW
from kinema.training.schedule import CosineSchedule, StepSchedule
from kinema.training.setup import read_resumed, resumable_config

__all__ = [
    "EXIT_REQUEUE",
    "SGD",
    "Adam",
    "AdamW",
    "CosineSchedule",
    "InterruptedRun",
    "Pipeline",
    "RecipeConfig",
    "StepSchedule",
    "TrainConfig",
    "TrainingOptions",
    "default_work_dir",
    "read_resumed",
    "resumable_config",
    "train",
]
