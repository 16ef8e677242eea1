"""Targets of the points of a pyramid: classes and distances to start and end."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.segments import Ints, Singles


@dataclass(kw_only=True)
class AssignmentOptions:
    """Which points learn an instance."""

    radius: Annotated[float, Ge(0)] = 1.5
    """Points around an instance's center that learn it, in strides of their level; 0: all points within it."""
    ranges: tuple[float, ...] = (4, 8, 16, 32, 64)
    """Bounds between the levels: the larger distance to an instance's start or end that a level learns, in positions
    of the features. The first level begins with 0, the last one has no bound."""


class PointTargets(NamedTuple):
    """Targets at all points, those of the first level first.

    classes: (N, P, classes) float32, 1 for the classes of the instances that a point learns. offsets: (N, P, 2) float32
    distances to start and end, in strides of the level; of no meaning at other points.
    """

    classes: Tensor
    offsets: Tensor


class Points(NamedTuple):
    """Points of a pyramid: position, stride, and range of distances of each, (P,) float32."""

    position: Singles
    stride: Singles
    least: Singles
    most: Singles


def pyramid_points(length: int, options: AssignmentOptions) -> Points:
    """Return the points of a pyramid on features of `length` positions: i · stride at each level."""
    bounds = [0.0, *options.ranges, np.inf]
    levels = []
    for level, (least, most) in enumerate(itertools.pairwise(bounds)):
        position = np.arange(0, length, 2**level, dtype=np.float32)
        levels.append((position, *(np.full_like(position, value) for value in (2.0**level, least, most))))
    return Points(*(np.concatenate(each) for each in zip(*levels, strict=True)))


def point_targets(
    segments: Sequence[Singles], labels: Sequence[Ints], *, length: int, classes: int, options: AssignmentOptions
) -> PointTargets:
    """Assign instances to points (Zhang et al., ECCV 2022, section 3.4; center sampling of Zhang et al., CVPR 2020).

    A point learns an instance if it lies within it and near its center, and the larger distance to its start or end is
    in the range of the level, bounds included. Of several the shortest counts; the classes of others of the same length
    are learned, too.

    Args:
        segments: of each video, (m, 2) start and end in positions of the features.
        labels: of each video, (m,) classes.
        length: of the features.
        classes: number of classes.
        options: see there.
    """
    points = pyramid_points(length, options)
    targets = np.zeros((len(segments), len(points.position), classes), np.float32)
    offsets = np.zeros((len(segments), len(points.position), 2), np.float32)
    radius = np.float32(options.radius or np.inf)
    for video, (of_video, label) in enumerate(zip(segments, labels, strict=True)):
        if len(label):
            _assign(
                *points, of_video.astype(np.float32), label.astype(np.int64), radius, targets[video], offsets[video]
            )
    return PointTargets(torch.from_numpy(targets), torch.from_numpy(offsets))


_SAME_LENGTH = np.float32(1e-3)


@compiled
def _assign(
    position: Singles,
    stride: Singles,
    least: Singles,
    most: Singles,
    segments: Singles,
    labels: Ints,
    radius: np.float32,
    targets: Singles,
    offsets: Singles,
) -> None:
    lengths = np.empty(len(segments), np.float32)
    for point in range(len(position)):
        time, reach = position[point], radius * stride[point]
        shortest, best = np.float32(np.inf), -1
        for row in range(len(segments)):
            start, end = segments[row]
            center = np.float32(0.5) * (start + end)
            near = time > max(center - reach, start) and time < min(center + reach, end)
            distance = max(time - start, end - time)
            lengths[row] = end - start if near and least[point] <= distance <= most[point] else np.inf
            if lengths[row] < shortest:
                shortest, best = lengths[row], row
        if best < 0:
            continue
        for row in range(len(segments)):
            if lengths[row] <= shortest + _SAME_LENGTH:
                targets[point, labels[row]] = 1
        offsets[point, 0] = (time - segments[best, 0]) / stride[point]
        offsets[point, 1] = (segments[best, 1] - time) / stride[point]
