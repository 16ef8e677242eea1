"""Learning rates over time, as functions of the epoch alone: a resumed run needs no state for them."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Interval


@dataclass(kw_only=True)
class Schedule:
    """What all schedules share."""

    epochs: Annotated[int, Ge(1)]
    """Length of the training."""
    warmup_epochs: Annotated[float, Ge(0)] = 0.0
    """Epochs in which the rate rises linearly to where the schedule is by then."""
    warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Where the warm-up begins, as a fraction of where it ends."""

    def __post_init__(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} must be less than epochs {self.epochs}")


@dataclass(kw_only=True)
class StepSchedule(Schedule):
    """The rate is multiplied by `gamma` at each of `milestones`."""

    milestones: tuple[Annotated[float, Gt(0)], ...]
    """Epochs at which the rate falls."""
    gamma: Annotated[float, Gt(0)] = 0.1
    """Factor of each fall."""


@dataclass(kw_only=True)
class CosineSchedule(Schedule):
    """The rate falls along half a cosine wave to `end` (Loshchilov & Hutter 2017, eq. 5, one cycle)."""

    end: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Where it ends, as a fraction of the initial rate."""


@dataclass(kw_only=True)
class StretchSchedule(Schedule):
    """A rate for each stretch of epochs."""

    starts: tuple[float, ...]
    """Epochs at which the stretches start; the first is 0."""
    factors: tuple[float, ...]
    """Rate of each stretch, as a fraction of the initial one."""


def lr_factor(schedule: StepSchedule | CosineSchedule | StretchSchedule, epoch: float) -> float:
    """The learning rate after `epoch` epochs (fractions count), as a fraction of the initial one."""
    if epoch < schedule.warmup_epochs:
        start, end = schedule.warmup_start, _unwarmed(schedule, schedule.warmup_epochs)
        return end * (start + (1 - start) * epoch / schedule.warmup_epochs)
    return _unwarmed(schedule, epoch)


def _unwarmed(schedule: StepSchedule | CosineSchedule | StretchSchedule, epoch: float) -> float:
    if isinstance(schedule, StretchSchedule):
        return schedule.factors[bisect_right(schedule.starts, epoch) - 1]
    if isinstance(schedule, StepSchedule):
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    return schedule.end + (1 - schedule.end) * (1 + math.cos(math.pi * epoch / schedule.epochs)) / 2
