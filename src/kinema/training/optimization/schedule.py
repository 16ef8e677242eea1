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
    """Epochs in which the rate rises linearly to where the schedule is by then; a tenth of `epochs` where they are not
    more than this."""
    warmup_start: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """Where the warm-up begins, as a fraction of where it ends."""

    @property
    def warmup(self) -> float:
        """Epochs of warm-up: `warmup_epochs`, or a tenth of a training that is no longer than that."""
        return self.warmup_epochs if self.warmup_epochs < self.epochs else self.epochs / 10


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
    if epoch < schedule.warmup:
        start, end = schedule.warmup_start, _factor_without_warmup(schedule, schedule.warmup)
        return end * (start + (1 - start) * epoch / schedule.warmup)
    return _factor_without_warmup(schedule, epoch)


def _factor_without_warmup(schedule: StepSchedule | CosineSchedule | StretchSchedule, epoch: float) -> float:
    if isinstance(schedule, StretchSchedule):
        return schedule.factors[bisect_right(schedule.starts, epoch) - 1]
    if isinstance(schedule, StepSchedule):
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    return schedule.end + (1 - schedule.end) * (1 + math.cos(math.pi * epoch / schedule.epochs)) / 2
