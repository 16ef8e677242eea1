"""The training loop: distributed, interruptible at any step, resumed exactly."""

from kinema.training.config import Pipeline, RecipeConfig, TrainConfig, TrainingOptions
from kinema.training.entry import default_work_dir, train
from kinema.training.optimization.optimizer import SGD, Adam, AdamW
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule
from kinema.training.parallel.distributed import EXIT_REQUEUE, InterruptedRun
from kinema.training.saving.work_dir import read_resumed, resumable_config

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
