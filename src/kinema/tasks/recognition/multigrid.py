"""Coarse grids of time and space first: faster training of 3D models (Wu et al. 2020, arXiv:1912.00998)."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, NamedTuple

from annotated_types import Ge

from kinema.data.timetable import BatchShape, Phase
from kinema.data.views import TrainClip
from kinema.errors import UserError
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule, StretchSchedule

LONG_CYCLE = ((0.25, 0.5**0.5), (0.5, 0.5**0.5), (0.5, 1.0), (1.0, 1.0))
"""Frames and side of the base shapes of a long cycle, as fractions of the full ones (table 1 of the paper)."""
SHORT_CYCLE = (0.5, 0.5**0.5)
"""Sides of two of three steps of a short cycle, as fractions of the full one; the third has the base shape's."""


@dataclass(kw_only=True)
class Multigrid:
    """Batches of more, but smaller clips, which cost as much as one of full size."""

    long_cycle: bool = False
    """Clips grow in four stages from a quarter of the frames and half of the area to full size, at each learning rate
    of a step schedule."""
    short_cycle: bool = False
    """Clips change their side from step to step: half, 0.7 times, as large as the long cycle says."""
    epoch_factor: Annotated[float, Ge(1)] = 1.5
    """Epochs to train for, times the schedule's: each takes fewer steps."""


class Grid(NamedTuple):
    """Shape of a batch: videos times the usual batch, frames, side in pixels."""

    batch: int
    frames: int
    side: int


class Plan(NamedTuple):
    """Phases of a training, its clips by the `variant` of their batch shapes, and its learning rate."""

    phases: list[Phase]
    clips: list[TrainClip]
    schedule: StepSchedule | CosineSchedule | StretchSchedule


def plan(options: Multigrid, schedule: StepSchedule | CosineSchedule, clip: TrainClip) -> Plan:
    """Lay out a training that would take `clip` for all of `schedule` without multigrid.

    Lengths, shapes and rates are PySlowFast's. Its batch norms see a batch in parts of 8 clips, ours all of it.

    Raises:
        UserError: the model's clips are not of neighboring frames, or the long cycle's schedule has no steps.
    """
    if not (options.long_cycle or options.short_cycle):
        return Plan([Phase(epochs=schedule.epochs)], [clip], schedule)
    if clip.sampling.joined or clip.sampling.num_clips > 1:
        raise UserError("--task.multigrid is for models that see one clip of neighboring frames, not segments")
    if not options.long_cycle:
        stretched = _stretched(schedule, options.epoch_factor)
        return _planned([(_grids(options, clip, 1.0, 1.0), stretched.epochs)], clip, stretched)
    if not isinstance(schedule, StepSchedule) or not schedule.milestones:
        raise UserError("--task.multigrid.long-cycle repeats at each fall of the learning rate: give a step schedule")
    return _long_cycles(options, schedule, clip)


def _long_cycles(options: Multigrid, schedule: StepSchedule, clip: TrainClip) -> Plan:
    stages = [_grids(options, clip, frames, side) for frames, side in LONG_CYCLE]
    batches = [sum(grid.batch for grid in grids) / len(grids) for grids in stages]  # average ones
    starts = [0.0, *schedule.milestones]
    # Stages of a cycle take equally many steps, so the share of a cycle's epochs is that of the batches.
    parts = [
        (fall, grids, (end - start) * batch / sum(batches))
        for fall, (start, end) in enumerate(pairwise(starts))
        for grids, batch in zip(stages, batches, strict=True)
    ]
    steps = sum((end - start) * len(stages) / sum(batches) for start, end in pairwise(starts))
    # After the last fall there is only full size, with the same saving of steps.
    last = (schedule.epochs - starts[-1]) * steps / starts[-1] * batches[-1]
    parts.append((len(starts) - 1, stages[-1], last))
    scale = options.epoch_factor * schedule.epochs / sum(epochs for _, _, epochs in parts)
    ends, total = list[int](), 0.0
    for _, _, epochs in parts:
        total += epochs * scale
        ends.append(round(total))
    lengths = [end - start for start, end in pairwise([0, *ends])]
    rates = [schedule.gamma**fall * grids[-1].batch for fall, grids, _ in parts]
    # The last part begins with the rate before it, for half of its length.
    middle = (ends[-2] + ends[-1]) // 2
    stretches = StretchSchedule(
        epochs=ends[-1],
        starts=(0, *ends[:-1], middle),
        factors=(*rates[:-1], rates[-2], rates[-1]),
        warmup_epochs=schedule.warmup,
        warmup_start=schedule.warmup_start,
    )
    return _planned([(grids, epochs) for (_, grids, _), epochs in zip(parts, lengths, strict=True)], clip, stretches)


def _planned(
    parts: list[tuple[list[Grid], int]], clip: TrainClip, schedule: StepSchedule | CosineSchedule | StretchSchedule
) -> Plan:
    phases, clips = list[Phase](), list[TrainClip]()
    for grids, epochs in parts:
        shapes = tuple(BatchShape(grid.batch, variant) for variant, grid in enumerate(grids, start=len(clips)))
        phases.append(Phase(epochs=epochs, shapes=shapes))
        clips += [_shaped(clip, grid) for grid in grids]
    return Plan(phases, clips, schedule)


def _grids(options: Multigrid, clip: TrainClip, frames: float, side: float) -> list[Grid]:
    """The shapes of a stage's steps, in turn; each batch has about as many pixels as one of full size."""
    full_frames, full_side = clip.sampling.clip_len, clip.crop.size
    sides = [*((full_side * short for short in SHORT_CYCLE) if options.short_cycle else ()), round(full_side * side)]
    length = max(1, round(full_frames * frames))
    return [Grid(max(1, round(full_frames * full_side**2 / (length * each**2))), length, round(each)) for each in sides]


def _shaped(clip: TrainClip, grid: Grid) -> TrainClip:
    """The clip at a grid's size; its frames may be further apart, up to where they span as much as all did."""
    sampling = clip.sampling
    longest = sampling.frame_interval * (sampling.clip_len // grid.frames)
    return replace(
        clip,
        sampling=replace(sampling, clip_len=grid.frames, longest_interval=longest),
        crop=replace(clip.crop, size=grid.side),
    )


def _stretched(schedule: StepSchedule | CosineSchedule, factor: float) -> StepSchedule | CosineSchedule:
    epochs = int(schedule.epochs * factor)
    if isinstance(schedule, CosineSchedule):
        return replace(schedule, epochs=epochs)
    return replace(schedule, epochs=epochs, milestones=tuple(int(at * factor) for at in schedule.milestones))
