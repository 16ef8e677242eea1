"""The config of a training. Recipes return it, dotted keys change it, `config.yaml` keeps it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from annotated_types import Ge, Interval

from kinema.config import NOT_AN_OPTION
from kinema.models import ModelOptions
from kinema.runtime.device import RuntimeOptions
from kinema.training.observers import Observers
from kinema.training.optimization.optimizer import SGD, Adam, AdamW
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule
from kinema.weights.model_files import Description


class DataOptions(Protocol):
    """Options of a task's data that the loop reads."""

    batch_size: int
    max_bad_fraction: float
    workers: int | Literal["auto"]

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage that does not answer."""


T = TypeVar("T")
M = TypeVar("M", bound=ModelOptions)
D = TypeVar("D", bound=DataOptions)


@dataclass(kw_only=True)
class TrainingOptions:
    """How the loop runs."""

    seed: Annotated[int, Ge(0)] = 0
    """Decides every random choice: weights, order, crops, dropout."""
    init: str = ""
    """A trained model whose weights to start from, instead of the recipe's: a run folder or a checkpoint."""
    accumulate: Annotated[int, Ge(1)] = 1
    """Batches whose gradients make one step."""
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Decay, per step, of the moving average of weights that is validated and saved; 0: the weights themselves."""
    precise_bn: Annotated[int, Ge(0)] = 0
    """Training batches used to recompute batch-norm statistics before each validation (Wu & Johnson 2021,
    section 3), 200 is usual; 0: their moving averages as they are."""
    sync_bn: bool = False
    """Batch-norm statistics over all GPUs."""
    fully_shard: bool = False
    """Divide weights, gradients and the optimizer's state over the processes (FSDP) instead of keeping all in each:
    less memory, more communication. Checkpoints are the same; with one process nothing is divided."""
    log_every: Annotated[int, Ge(1)] = 20
    """Steps between two lines of metrics.jsonl."""
    val_every: Annotated[int, Ge(1)] = 1
    """Epochs between two validations; the last epoch is always validated."""
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Steps between two checkpoints, beside the one after each epoch; 0: only that."""


@dataclass(kw_only=True)
class TrainConfig(Generic[T, M, D]):
    """A complete training of one network."""

    recipe: str = field(default="", metadata=NOT_AN_OPTION)
    """Recipe that it came from."""
    model: M
    task: T
    """See `kinema.training.task.TaskOptions`."""
    data: D
    optim: SGD | Adam | AdamW
    schedule: StepSchedule | CosineSchedule
    training: TrainingOptions = field(default_factory=TrainingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def stages(self) -> dict[str, "AnyConfig"]:
        """Return this training, as a pipeline returns several."""
        return {"": self}

    def describe(self, classes: tuple[str, ...] = ()) -> Description[T, M, D]:
        """Return what a user of the trained model needs to know of this training."""
        return Description(recipe=self.recipe, task=self.task, model=self.model, data=self.data, classes=classes)


AnyConfig = TrainConfig[Any, Any, Any]


class Pipeline(Protocol):
    """A method of several trainings, a dataclass of options: what a recipe may return instead of a `TrainConfig`."""

    recipe: str
    runtime: RuntimeOptions

    def stages(self) -> dict[str, AnyConfig]:
        """Return the trainings by the names of their folders, in order."""

    def check(
        self,
        work_dir: Path,
        *,
        resume: bool,
        check_training: Callable[[AnyConfig, Path], None],
    ) -> None:
        """Call `check_training`, with the folder of each, for the trainings whose data are there before the first.

        Raises:
            UserError: `work_dir` holds a run that is not resumed; or as `check_training`.
        """

    def train(self, work_dir: Path, *, resume: bool, observers: Observers) -> dict[str, float]:
        """Run the trainings and what is between them; see `kinema.training.train`."""


RecipeConfig = AnyConfig | Pipeline
"""What a recipe returns."""
