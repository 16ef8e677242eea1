"""The protocols of a task: its options, a training of it, and a trained model in use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.batch import BadFile
from kinema.data.readers.reader import FrameReader
from kinema.data.timetable import Phase, Timetable
from kinema.prediction import Prediction
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.training.config import AnyConfig
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule, StretchSchedule
from kinema.weights.model_files import AnyDescription

T = TypeVar("T")
D = TypeVar("D")


@dataclass(kw_only=True)
class EvaluationOptions(Generic[T, D]):
    """Options of a test; by default as the model was trained."""

    data: D
    task: T
    runtime: RuntimeOptions


@dataclass(frozen=True, kw_only=True)
class EvaluationOutputs:
    """Files that a test writes."""

    folder: Path
    """Receives `metrics.json`, `data.json`, and what the task writes beside them."""
    dump: Path | None = None
    """An npz file for the scores of every video."""
    font: Path | None = None
    """A font file for class names that DejaVu Sans cannot write."""


class Predictor(Protocol):
    """A trained model in use."""

    @property
    def classes(self) -> Sequence[str]:
        """Labels that predictions may have."""

    @property
    def folder(self) -> Path:
        """The folder of the model's files."""

    def predict(self, video: str | Path, *, top: int = 5) -> list[Prediction]:
        """Return the `top` best predictions for a video, best first.

        Raises:
            MediaError: the video cannot be read.
        """

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video.

        Raises:
            MediaError: it cannot be opened.
        """


class TaskOptions(Protocol):
    """Options of a task, a dataclass; it opens trainings of the task and loads its models."""

    name: ClassVar[str]
    """As in `kinema.tasks.TASKS`; absent from tasks elsewhere, which are known by the address of their class."""
    data_type: ClassVar[type]
    """Dataclass of the task's data."""

    def open(self, config: AnyConfig, process: Process) -> "Task":
        """Open the data of a training.

        Raises:
            UserError: the data cannot be used, or options contradict each other.
        """

    def input_shape(self, config: AnyConfig) -> tuple[int, ...]:
        """Return the shape of one input of the network, without the batch."""

    def test_options(self, description: AnyDescription) -> EvaluationOptions[Any, Any]:
        """Return the options of a test as the model was trained."""

    def test(
        self,
        model: Path,
        description: AnyDescription,
        options: EvaluationOptions[Any, Any],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Test the model in the folder `model` on its validation data; write and return the metrics.

        Raises:
            UserError: the data cannot be used, or the results cannot be written.
        """

    def load(self, model: Path, description: AnyDescription, runtime: RuntimeOptions) -> Predictor:
        """Load the model in the folder `model` for use.

        Raises:
            UserError: its files are damaged, or single videos are not what the task's models predict.
        """


class Loss(NamedTuple):
    """What a batch costs. total: scalar to be minimised; figures: scalars worth a column of `metrics.jsonl`."""

    total: Tensor
    figures: dict[str, Tensor]


class Validation(NamedTuple):
    """Of all processes. metrics: a row of `metrics.jsonl`; bad: the files that could not be read."""

    metrics: dict[str, float]
    bad: list[BadFile]


class Task(Protocol):
    """One kind of model in training.

    Its batches have `bad` files, a length and `to(device)`; what else is in them only the task knows.
    """

    @property
    def description(self) -> AnyDescription:
        """Contents of the checkpoints' `model.json`."""

    @property
    def num_train(self) -> int:
        """Videos of an epoch."""

    @property
    def num_val(self) -> int:
        """Videos of a validation; 0: there is none."""

    @property
    def phases(self) -> Sequence[Phase]:
        """The epochs of the training, and how their batches change."""

    @property
    def schedule(self) -> StepSchedule | CosineSchedule | StretchSchedule:
        """The learning rate over these epochs."""

    @property
    def reads(self) -> str:
        """What reads the data, for the log."""

    def empty_model(self) -> nn.Module:
        """The model with random weights, the same ones for the same seed."""

    def first_model(self) -> nn.Module:
        """The model with the weights that a new training starts from.

        Raises:
            UserError: these cannot be had, or are of another architecture.
        """

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[Any]:
        """This process's training batches from a step on."""

    def statistics_batches(self, timetable: Timetable) -> DataLoader[Any]:
        """Training batches, always the same, as the last phase has them: for batch-norm statistics."""

    def val_batches(self) -> DataLoader[Any]:
        """This process's part of the validation videos."""

    def inputs(self, batch: Any) -> Tensor:
        """What the model takes of a batch."""

    def loss(self, network: nn.Module, batch: Any) -> Loss:
        """The loss of a batch; `network` is the model, or DDP around it."""

    def validate(self, model: nn.Module, batches: DataLoader[Any]) -> Validation:
        """Measure the model on `val_batches`. Leaves it in eval mode."""

    def score(self, metrics: Mapping[str, float]) -> float:
        """By which of its metrics a model is better than another: larger is better; NaN where it is undefined."""

    def summary(self, metrics: Mapping[str, float]) -> str:
        """The metrics that people look for, in a few words."""
