"""When what is trained on: epochs made of steps, whose batches may change their size and shape."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs whose steps take batches of certain sizes, in turn."""

    epochs: int
    sizes: tuple[int, ...] = (1,)
    """Batch of each step in turn, times the usual batch."""
    first_clip: int = 0
    """Which of the dataset's clips a step of the first size takes; the next size takes the next one."""


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """A phase with the epoch and step it starts at, and the steps of each of its epochs."""

    phase: Phase
    epoch: int
    step: int
    steps_per_epoch: int


class Timetable:
    """The steps of each epoch of a training; steps and epochs are counted from 0.

    What does not fill a step is left out of an epoch.

    Args:
        num_videos: videos of an epoch.
        batch_size: videos of a batch in a phase of size 1.
        batches: batches of a step, of all processes.
        phases: what follows what.

    Raises:
        UserError: the videos of an epoch do not fill a step.
    """

    def __init__(self, num_videos: int, batch_size: int, phases: Sequence[Phase], *, batches: int = 1) -> None:
        self._stretches: list[_Stretch] = []
        epoch = step = 0
        for phase in phases:
            steps = _steps(num_videos // (batch_size * batches), phase.sizes)
            if not steps:
                raise UserError(
                    f"{num_videos} training videos do not fill the {batches} batches (processes × "
                    f"--training.accumulate) of {batch_size * phase.sizes[0]} videos of a step: "
                    f"use --data.batch-size {max(num_videos // (batches * phase.sizes[0]), 1)} or less"
                )
            self._stretches.append(_Stretch(phase=phase, epoch=epoch, step=step, steps_per_epoch=steps))
            epoch, step = epoch + phase.epochs, step + phase.epochs * steps
        self.epochs, self.steps = epoch, step

    def place(self, step: int) -> tuple[int, int]:
        """The epoch that a step is in, and its number there."""
        stretch = self._at(step)
        epochs, in_epoch = divmod(step - stretch.step, stretch.steps_per_epoch)
        return stretch.epoch + epochs, in_epoch

    def epochs_done(self, step: int) -> float:
        """Epochs that are over before a step; a fraction within one."""
        epoch, in_epoch = self.place(step)
        return epoch + in_epoch / self._at(step).steps_per_epoch

    def steps_at(self, step: int) -> int:
        """Steps of the epoch that a step is in."""
        return self._at(step).steps_per_epoch

    def batch(self, step: int) -> tuple[int, int]:
        """A step's batch, times the usual one, and the number of its clip."""
        phase = self._at(step).phase
        turn = self.place(step)[1] % len(phase.sizes)
        return phase.sizes[turn], phase.first_clip + turn

    def _at(self, step: int) -> _Stretch:
        return self._stretches[bisect_right(self._stretches, step, key=lambda stretch: stretch.step) - 1]


def _steps(batches: int, sizes: Sequence[int]) -> int:
    """Steps of these sizes in turn that as many batches of size 1 are enough for."""
    turns, left = divmod(batches, sum(sizes))
    steps = turns * len(sizes)
    for size in sizes:
        if left < size:
            break
        left, steps = left - size, steps + 1
    return steps
