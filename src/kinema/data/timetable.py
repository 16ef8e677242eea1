"""Maps steps to epochs and batch shapes."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kinema.errors import UserError


class BatchShape(NamedTuple):
    """Shape of a step's batches.

    factor: videos, as a multiple of the batch size. variant: shape of the samples, as the dataset numbers them (see
    `kinema.data.samples.SampleKey`).
    """

    factor: int = 1
    variant: int = 0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Consecutive epochs whose steps cycle through the same batch shapes."""

    epochs: int
    shapes: tuple[BatchShape, ...] = (BatchShape(),)
    """Batch shape of each step in turn; every epoch starts with the first."""


@dataclass(frozen=True, kw_only=True)
class _Start:
    """First epoch and step of a phase, and the steps of each of its epochs."""

    phase: Phase
    epoch: int
    step: int
    steps_per_epoch: int


class Timetable:
    """Maps steps to epochs and batch shapes; steps and epochs are counted from 0.

    The last videos of an epoch that do not fill a step are dropped.

    Args:
        num_videos: Videos of an epoch.
        batch_size: Videos of a batch whose factor is 1.
        phases: Consecutive phases of the training.
        batches: Batches of a step, over all processes.

    Raises:
        UserError: The videos of an epoch do not fill a step.
    """

    def __init__(self, num_videos: int, batch_size: int, phases: Sequence[Phase], *, batches: int = 1) -> None:
        self._starts: list[_Start] = []
        epoch = step = 0
        for phase in phases:
            factors = [shape.factor for shape in phase.shapes]
            steps = _steps(num_videos // (batch_size * batches), factors)
            if not steps:
                raise UserError(
                    f"{num_videos} training videos do not fill the {batches} batches (processes × "
                    f"--training.accumulate) of {batch_size * factors[0]} videos of a step: "
                    f"use --data.batch-size {max(num_videos // (batches * factors[0]), 1)} or less"
                )
            self._starts.append(_Start(phase=phase, epoch=epoch, step=step, steps_per_epoch=steps))
            epoch, step = epoch + phase.epochs, step + phase.epochs * steps
        self.epochs, self.steps = epoch, step

    def epoch_step(self, step: int) -> tuple[int, int]:
        """Return the epoch of a step, and the step's number within it."""
        start = self._start(step)
        epochs, in_epoch = divmod(step - start.step, start.steps_per_epoch)
        return start.epoch + epochs, in_epoch

    def epochs_done(self, step: int) -> float:
        """Return the epochs completed before a step, with the fraction of the current one."""
        epoch, in_epoch = self.epoch_step(step)
        return epoch + in_epoch / self.steps_per_epoch(step)

    def steps_per_epoch(self, step: int) -> int:
        """Return the number of steps of the epoch that a step is in."""
        return self._start(step).steps_per_epoch

    def batch_shape(self, step: int) -> BatchShape:
        """Return the shape of a step's batches."""
        shapes = self._start(step).phase.shapes
        return shapes[self.epoch_step(step)[1] % len(shapes)]

    def _start(self, step: int) -> _Start:
        return self._starts[bisect_right(self._starts, step, key=lambda start: start.step) - 1]


def _steps(batches: int, factors: Sequence[int]) -> int:
    """Return how many steps that cycle through `factors` fit into `batches` batches of factor 1."""
    cycles, left = divmod(batches, sum(factors))
    steps = cycles * len(factors)
    for factor in factors:
        if left < factor:
            break
        left, steps = left - factor, steps + 1
    return steps
