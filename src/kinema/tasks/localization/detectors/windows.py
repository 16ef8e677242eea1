"""Overlapping windows of long videos as inputs of detectors, in validation, tests and use.

Every point of the pyramid of a whole video is a point of one window or several. Its output is that of the window which
shows most around it, so that windows and the whole video have the same candidates, but for what a window does not show.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from torch import Tensor

from kinema.data.features.spans import FeatureSpan
from kinema.errors import UserError
from kinema.tasks.localization.data.windows import WindowLength, windows_of_blocks
from kinema.tasks.localization.detectors.decoding import Range
from kinema.tasks.localization.metrics.results import Proposals, in_seconds
from kinema.tasks.localization.metrics.segments import Floats, Ints, Singles
from kinema.tasks.localization.proposer import network_input


@dataclass(frozen=True, kw_only=True)
class DetectorWindows:
    """Windows of videos, in their order.

    lengths: (videos,) features of each video. video: (n,) row of the video of each window. bounds: (n, 2) first and
    last position (exclusive) of its features. owned: the same of the points whose candidates are taken from it, which
    together are those of the video, each once.
    """

    lengths: Ints
    video: Ints
    bounds: Ints
    owned: Ints

    @property
    def parts(self) -> Floats:
        """Start and end of each window as fractions of its video's features, (n, 2)."""
        length = self.lengths[self.video, None]
        return np.where(length > 0, self.bounds / np.maximum(length, 1), [0.0, 1.0])

    def points(self, row: int) -> Range:
        """Return the positions in a window whose candidates are taken from it."""
        first, last = (self.owned[row] - self.bounds[row, 0]).tolist()
        return first, last


def detector_windows(
    lengths: Sequence[int], rows: Sequence[int], options: WindowLength, *, stride: int
) -> DetectorWindows:
    """Cut videos into windows.

    Args:
        lengths: features of each video; 0: they cannot be read, and the video stays whole.
        rows: features of a window of each video.
        options: overlap.
        stride: that of the coarsest level. Windows start at its multiples, where the points of a level are points of
            the whole video's.

    Raises:
        UserError: a window is shorter than two points of the coarsest level.
    """
    if rows and min(rows) < 2 * stride:
        raise UserError(
            f"--data.windows: windows of {min(rows)} features are too short for a network whose coarsest level has a "
            f"point every {stride}: pass at least {2 * stride}"
        )
    bounds = [window_bounds(*each, options.overlap, stride) for each in zip(lengths, rows, strict=True)]
    video = np.repeat(np.arange(len(bounds)), [len(each) for each in bounds])
    none = np.zeros((0, 2), np.int64)
    return DetectorWindows(
        lengths=np.array(lengths, np.int64),
        video=video,
        bounds=np.concatenate([none, *bounds]),
        owned=np.concatenate([none, *(owned_points(each) for each in bounds)]),
    )


def window_bounds(length: int, rows: int, overlap: float, stride: int) -> Ints:
    """Return the windows of `length` features, (n, 2): `rows` long or, the last one, shorter."""
    step = max((rows - round(rows * overlap)) // stride, 1) * stride
    count = 1 + max(-(-(length - rows) // step), 0)
    starts = np.arange(count, dtype=np.int64) * step
    return np.stack([starts, (starts + rows).clip(max=length)], axis=1)


def owned_points(bounds: Ints) -> Ints:
    """Return for windows (n, 2) the positions that are nearer to the middle of a window's overlap than to its ends.

    Neighbours divide what they share in the middle.
    """
    middles = (bounds[1:, 0] + bounds[:-1, 1]) // 2
    return np.stack([np.append(bounds[:1, 0], middles), np.append(middles, bounds[-1:, 1])], axis=1)


def merged_windows(
    found: dict[int, Proposals], windows: DetectorWindows, suppress: Callable[[Proposals], Proposals]
) -> dict[int, Proposals]:
    """Return the detections of videos, by row, from the candidates of windows, by row, in positions of the video.

    Of a video, some of whose windows could not be read, the others count.
    """
    by_video = groupby(sorted(found), key=lambda row: int(windows.video[row]))
    return {video: suppress(Proposals.concatenate([found[row] for row in rows])) for video, rows in by_video}


@dataclass(frozen=True, kw_only=True)
class WindowDetector:
    """Detection in the windows of a raw video; see `WindowProposer`."""

    options: WindowLength
    stride: int
    candidates: Callable[[Tensor, Range], Proposals]
    """Returns candidates in positions of features (C, T), of the points in a range."""
    suppress: Callable[[Proposals], Proposals]

    def propose(self, blocks: Iterator[Singles], rows: int, span: FeatureSpan) -> Proposals:
        """Return detections in seconds of a video with `rows` features that come in blocks."""
        windows = detector_windows([rows], [self.options.rows(rows, span)], self.options, stride=self.stride)
        found = []
        for row, window in enumerate(windows_of_blocks(blocks, windows.bounds)):
            candidates = self.candidates(network_input(window, None, "linear"), windows.points(row))
            found.append(replace(candidates, segments=candidates.segments + windows.bounds[row, 0]))
        kept = self.suppress(Proposals.concatenate(found))
        return in_seconds(replace(kept, segments=(kept.segments + 0.5) / rows), span)
