"""Protocol of observers, such as curves and loggers, that the caller passes to a training run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor


class Observer(Protocol):
    """Receiver of the rows of `metrics.jsonl` as they are written, in the main process."""

    def on_step(self, row: dict[str, float]) -> None:
        """Receive a training row."""

    def on_validation(self, row: dict[str, float]) -> None:
        """Receive a validation row."""

    def close(self) -> None:
        """Finish, when the run ends or is interrupted."""


@runtime_checkable
class PictureObserver(Observer, Protocol):
    """An observer that also receives the pictures of validations."""

    def on_pictures(self, pictures: Mapping[str, Tensor], *, step: int) -> None:
        """Receive pictures by name, (H, W, 3) uint8, of the validation after a step."""


@runtime_checkable
class CriterionObserver(Observer, Protocol):
    """An observer that is also told which metric of the validations selects the best model."""

    def on_criterion(self, metric: str, *, lower: bool) -> None:
        """Receive the metric before all rows; lower: whether lower values are better."""


class OpenObserver(Protocol):
    """Factory of an observer, called when a run starts or resumes."""

    def __call__(self, work_dir: Path, *, first_step: int) -> Observer:
        """Observe the run in `work_dir` from step `first_step` on; its rows of later steps are obsolete."""


Observers = Sequence[OpenObserver]
