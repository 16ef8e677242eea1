"""Learning rates over time, as functions of the epoch alone: a resumed run needs no state for them."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Interval


@dataclass(kw_only=True)
class Schedule:
    """Options of every schedule."""

    epochs: Annotated[int, Ge(1)]
    """Length of the training."""
    warmup_epochs: Annotated[float, Ge(0)] = 0.0
    """Epochs of linear warm-up; a tenth of `epochs` if `epochs` is not larger."""
    warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Factor at the start of the warm-up, relative to its end."""

    @property
    def warmup(self) -> float:
        """Epochs of warm-up: `warmup_epochs`, or a tenth of `epochs` if that is not larger."""
        return self.warmup_epochs if self.warmup_epochs < self.epochs else self.epochs / 10


@dataclass(kw_only=True)
class StepSchedule(Schedule):
    """Multiply the learning rate by `gamma` at each of `milestones`."""

    milestones: tuple[Annotated[float, Gt(0)], ...]
    """Epochs at which the learning rate decays."""
    gamma: Annotated[float, Gt(0)] = 0.1
    """Factor of each decay."""


@dataclass(kw_only=True)
class CosineSchedule(Schedule):
    """Cosine annealing of the learning rate to `end` (Loshchilov & Hutter 2017, eq. 5, without restarts)."""

    end: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Final learning rate, as a fraction of the initial one."""
    after_warmup: bool = False
    """Whether the cosine begins at the end of the warm-up, with the initial rate, instead of at epoch 0."""


@dataclass(kw_only=True)
class StretchSchedule(Schedule):
    """A constant learning rate per range of epochs."""

    starts: tuple[float, ...]
    """First epoch of each range, beginning with 0."""
    factors: tuple[float, ...]
    """Learning rate of each range, as a fraction of the initial one."""


def lr_factor(schedule: StepSchedule | CosineSchedule | StretchSchedule, epoch: float) -> float:
    """Return the learning rate at `epoch` (fractional), as a fraction of the initial one."""
    if epoch < schedule.warmup:
        start, end = schedule.warmup_start, _factor_without_warmup(schedule, schedule.warmup)
        return end * (start + (1 - start) * epoch / schedule.warmup)
    return _factor_without_warmup(schedule, epoch)


def _factor_without_warmup(schedule: StepSchedule | CosineSchedule | StretchSchedule, epoch: float) -> float:
    if isinstance(schedule, StretchSchedule):
        return schedule.factors[bisect_right(schedule.starts, epoch) - 1]
    if isinstance(schedule, StepSchedule):
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    start = schedule.warmup if schedule.after_warmup else 0.0
    done = (epoch - start) / (schedule.epochs - start)
    return schedule.end + (1 - schedule.end) * (1 + math.cos(math.pi * done)) / 2
