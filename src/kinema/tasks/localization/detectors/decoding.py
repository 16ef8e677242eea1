"""Detections from the output of a network, before suppression."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from kinema.tasks.localization.detectors.losses import Level, Offsets
from kinema.tasks.localization.metrics.results import Proposals


@dataclass(kw_only=True)
class DecodingOptions:
    """Selection of the candidates that are suppressed."""

    least_score: Annotated[float, Interval(ge=0, le=1)] = 0.001
    """Candidates have a higher score."""
    most: Annotated[int, Ge(1)] = 2000
    """Maximum number of candidates of a level, over all points and classes."""
    least_length: Annotated[float, Ge(0)] = 0.05
    """Candidates are longer, in positions of the features."""


Range = tuple[int, int]
"""First position of the features, and the one after the last."""


def decode_levels(
    levels: Sequence[Level],
    ranges: Sequence[Range],
    options: DecodingOptions,
    *,
    offsets_of: Offsets,
) -> Iterator[Proposals]:
    """Yield the candidates of each video (Zhang et al., ECCV 2022, section 3.4), best first within a level.

    Args:
        levels: outputs of the network.
        ranges: positions of the features whose points are decoded, of each video: the valid ones, or fewer.
        options: see there.
        offsets_of: distances to start and end.

    Yields:
        Segments in positions of the features, with scores and labels.
    """
    for video, within in enumerate(ranges):
        parts = [_decode(level, video, within, 2**number, options, offsets_of) for number, level in enumerate(levels)]
        segments, scores, labels = (torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True))
        yield Proposals(segments=segments.astype(np.float64), scores=scores.astype(np.float64), labels=labels)


def _decode(
    level: Level, video: int, within: Range, stride: int, options: DecodingOptions, offsets_of: Offsets
) -> tuple[Tensor, Tensor, Tensor]:
    """Return segments, scores and labels of the candidates of a level."""
    first, last = (-(-position // stride) for position in within)
    scores = level.logits[video, first:last].sigmoid()
    kept = (scores > options.least_score).nonzero()
    best, order = scores[kept[:, 0], kept[:, 1]].sort(descending=True, stable=True)
    point, label = kept[order[: options.most]].unbind(1)
    point = point + first
    best = best[: options.most]
    offsets = offsets_of(level, torch.full_like(point, video), point, label)
    segments = (point[:, None] + offsets * offsets.new_tensor([-1.0, 1.0])) * stride
    long = segments[:, 1] - segments[:, 0] > options.least_length
    return segments[long], best[long], label[long]
