"""Config of a training run, as recipes return it and `config.yaml` stores it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from annotated_types import Ge, Interval

from kinema.config import NOT_AN_OPTION
from kinema.errors import UserError
from kinema.models import ModelOptions
from kinema.runtime.device import RuntimeOptions
from kinema.training.observers import Observers
from kinema.training.optimization.optimizer import SGD, Adam, AdamW
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule
from kinema.weights.model_files import Description


class DataOptions(Protocol):
    """Options of a task's data that the training loop reads."""

    batch_size: int
    max_bad_fraction: float
    workers: int | Literal["auto"]

    @property
    def patience(self) -> float:
        """Seconds to wait for storage that does not respond."""


T = TypeVar("T")
M = TypeVar("M", bound=ModelOptions)
D = TypeVar("D", bound=DataOptions)


@dataclass(kw_only=True)
class TrainingOptions:
    """Options of the training loop."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of all randomness: initial weights, sample order, augmentation, dropout."""
    init: str = ""
    """Trained model to initialize the weights from, instead of the recipe's: a run folder or a checkpoint."""
    accumulate: Annotated[int, Ge(1)] = 1
    """Batches whose gradients are accumulated for one optimizer step."""
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Decay per step of an exponential moving average of the weights, which is validated and saved instead; 0: none."""
    precise_bn: Annotated[int, Ge(0)] = 0
    """Training batches used to recompute batch-norm statistics before each validation (Wu & Johnson 2021,
    section 3), 200 is usual; 0: use the moving averages."""
    sync_bn: bool = False
    """Synchronize batch-norm statistics across GPUs."""
    fully_shard: bool = False
    """Shard weights, gradients and optimizer state across the processes (FSDP): less memory, more communication.
    Checkpoints are the same; a single process shards nothing."""
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    """Where metrics are logged beside metrics.jsonl: TensorBoard events in tensorboard/, Weights & Biases
    (`pip install 'kinema[wandb]'`; offline with WANDB_MODE=offline); empty: nowhere."""
    log_every: Annotated[int, Ge(1)] = 20
    """Steps between two training rows of metrics.jsonl."""
    val_every: Annotated[int, Ge(1)] = 1
    """Epochs between two validations; the last epoch is always validated."""
    patience: Annotated[int, Ge(0)] = 0
    """Validations in a row without a new best model after which training stops early; 0: all epochs are trained.
    `task.best_by` says by which metric a model is better."""
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Steps between additional checkpoints, besides the one after each epoch; 0: none."""


@dataclass(kw_only=True)
class TrainConfig(Generic[T, M, D]):
    """A complete training of one network."""

    recipe: str = field(default="", metadata=NOT_AN_OPTION)
    """Name of its recipe."""
    model: M
    task: T
    """What the model is trained for: labels, loss and metrics; see `kinema.training.task.TaskOptions`."""
    data: D
    optim: SGD | Adam | AdamW
    schedule: StepSchedule | CosineSchedule
    training: TrainingOptions = field(default_factory=TrainingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def stages(self) -> dict[str, "AnyConfig"]:
        """Return this config as the only stage, as `Pipeline.stages` does."""
        return {"": self}

    def describe(self, classes: tuple[str, ...] = ()) -> Description[T, M, D]:
        """Return the description that is saved with the trained model."""
        return Description(recipe=self.recipe, task=self.task, model=self.model, data=self.data, classes=classes)


AnyConfig = TrainConfig[Any, Any, Any]


class Pipeline(Protocol):
    """A method of several training runs: a dataclass of options that a recipe may return instead of a `TrainConfig`."""

    recipe: str
    runtime: RuntimeOptions

    def stages(self) -> dict[str, AnyConfig]:
        """Return the configs of the training runs by folder name, in order."""

    def check(self, work_dir: Path, *, resume: bool, check_training: Callable[[AnyConfig, Path], None]) -> None:
        """Call `check_training` with the config and folder of each stage whose data exist before training starts.

        Raises:
            UserError: `work_dir` holds a run that is not resumed; or raised by `check_training`.
        """

    def train(self, work_dir: Path, *, resume: bool, observers: Observers) -> dict[str, float]:
        """Run all stages; see `kinema.training.train`."""


RecipeConfig = AnyConfig | Pipeline
"""What a recipe returns."""


def single_training(config: RecipeConfig) -> AnyConfig:
    """Return the training of a recipe of one network.

    Raises:
        UserError: the recipe has several.
    """
    stages = config.stages()
    if len(stages) > 1:
        raise UserError(f"the recipe {config.recipe} has several networks ({', '.join(stages)}); pass that of one")
    (training,) = stages.values()
    return training
