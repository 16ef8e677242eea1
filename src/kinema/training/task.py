"""What the loop asks of the kind of model that it trains: its data, its loss, its validation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.batch import BadFile
from kinema.data.timetable import Phase, Timetable
from kinema.training.schedule import CosineSchedule, StepSchedule, StretchSchedule
from kinema.weights.model_files import Description


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
    def description(self) -> Description:
        """What a checkpoint says about the model."""

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
