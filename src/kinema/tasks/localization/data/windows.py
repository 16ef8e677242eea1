"""Overlapping windows of long videos, for localizers whose grid is shorter than a video, and merging of proposals."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from kinema.data.features.spans import FeatureSpan
from kinema.errors import UserError
from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Bools, Floats, Ints, Singles


@dataclass(kw_only=True)
class WindowLength:
    """Length and overlap of the windows that videos are cut into, each of which is an input of the network."""

    points: Annotated[int, Ge(0)] = 0
    """Length of a window in points in time of the features, before they are rescaled; 0: see `seconds`."""
    seconds: Annotated[float, Ge(0)] = 0.0
    """Length of a window in seconds instead; if this is 0, too, each video is one input."""
    overlap: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    """Share of a window that the next one has in common with it. Instances shorter than this share of a window are
    whole in a window at least."""

    def __bool__(self) -> bool:
        return bool(self.points or self.seconds)

    def check(self) -> None:
        """Check that the length is given once.

        Raises:
            UserError: it is given in both units.
        """
        if self.points and self.seconds:
            raise UserError(
                f"--data.windows.points {self.points} and --data.windows.seconds {self.seconds:g} are the same length "
                "in two units: pass one of them"
            )

    def rows(self, length: int, span: FeatureSpan) -> int:
        """Return the length of a window in points in time of a video that has `length` of them in a span."""
        return self.points or max(round(self.seconds * length / (span.end - span.start)), 2)


@dataclass(kw_only=True)
class WindowOptions(WindowLength):
    """Overlapping windows that videos are cut into, each of which is an input of the network."""

    least_share: Annotated[float, Interval(gt=0, le=1)] = 0.9
    """Least share of an instance that lies in a window for which it is learned there, cut at the window's ends."""

    def bounds(self, length: int, rows: int) -> Floats:
        """Return the windows, `rows` points long, of a video with features at `length` points in time.

        The last window ends with the video. A video that is shorter than a window has one, which reaches beyond its
        end.

        Returns:
            (n, 2) start and end in fractions of the video's features, in order.
        """
        stride = max(rows - round(rows * self.overlap), 1)
        starts = np.append(np.arange(0, length - rows, stride), max(length - rows, 0))
        return np.stack([starts, starts + rows], axis=1) / length


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of videos, in their order.

    pieces: the windows as videos with spans and instances of their own; of the ground truth only names are theirs.
    video: (n,) row of the video of each. parts: (n, 2) start and end in fractions of the video's features.
    """

    pieces: Videos
    video: Ints
    parts: Floats

    def with_instances(self) -> "Windows":
        """Return the windows in which there is something to learn."""
        kept = [row for row, instances in enumerate(self.pieces.instances) if len(instances)]
        return Windows(pieces=self.pieces.rows(kept), video=self.video[kept], parts=self.parts[kept])


def whole_videos(videos: Videos) -> Windows:
    """Return one window of each video: all of it."""
    return Windows(pieces=videos, video=np.arange(len(videos)), parts=np.tile([0.0, 1.0], (len(videos), 1)))


def cut_into_windows(videos: Videos, lengths: Sequence[int], options: WindowOptions) -> Windows:
    """Cut videos into windows.

    An instance is in a window if at least `least_share` of it lies there; what reaches beyond is cut off.

    Args:
        videos: with spans and instances.
        lengths: at how many points in time each video has features; 0: they cannot be read, and the video stays whole.
        options: length and overlap.
    """
    parts = [
        options.bounds(length, options.rows(length, span)) if length else np.array([[0.0, 1.0]])
        for length, span in zip(lengths, videos.spans, strict=True)
    ]
    video = np.repeat(np.arange(len(videos)), [len(each) for each in parts])
    spans, instances = [], []
    for row, part in zip(video.tolist(), np.concatenate([np.zeros((0, 2)), *parts]), strict=True):
        spans.append(videos.spans[row].part(*part.tolist()))
        inside = (videos.instances[row] - part[0]) / (part[1] - part[0])
        clipped = inside.clip(0, 1)
        share = np.diff(clipped)[:, 0] / np.diff(inside)[:, 0]
        instances.append(clipped[share >= options.least_share])
    names = tuple(videos.name(row) for row in video.tolist())
    pieces = Videos(truth=replace(videos.truth, videos=names), spans=tuple(spans), instances=tuple(instances))
    return Windows(pieces=pieces, video=video, parts=np.concatenate([np.zeros((0, 2)), *parts]))


def windows_of_blocks(blocks: Iterable[Singles], bounds: Ints) -> Iterator[Singles]:
    """Yield windows of features that come block by block, of which no more than a window and a block are held.

    Args:
        blocks: (n, C) consecutive features of a video.
        bounds: (windows, 2) first and last row (exclusive) of each, ascending; beyond the video's end, features are 0.
    """
    remaining, held, start = iter(blocks), list[Singles](), 0
    for first, last in bounds.tolist():
        while start + sum(map(len, held)) < last and (block := next(remaining, None)) is not None:
            held.append(block)
            while len(held) > 1 and start + len(held[0]) <= first:
                start += len(held.pop(0))
        window = np.concatenate(held)[max(first - start, 0) : last - start]
        yield np.pad(window, ((0, last - first - len(window)), (0, 0)))


Suppress = Callable[[Proposals, int], Proposals]
"""Selects among candidates whose times are fractions of a window, of so many windows."""


def kept_candidates(segments: Floats, spans: Sequence[FeatureSpan], number: int, *, tolerance: float) -> Bools:
    """Return which candidates of a window are not better judged by the next or the previous one: (n,).

    A candidate that ends at the border of a window where the video goes on may be a part of something longer. If it
    lies within the next window, away from that one's border, it is dropped: the next window sees what follows.
    Likewise at the start. What no window sees whole is kept. Candidates beyond the end of the video are dropped.

    Args:
        segments: (n, 2) in seconds, clipped to the video.
        spans: of the windows of the video in order, all of the same length.
        number: of the window, from 0.
        tolerance: how close to a border a candidate touches it, as a fraction of a window.
    """
    span, (start, end) = spans[number], segments.T
    reach = (span.end - span.start) * tolerance * (1 + 1e-6)
    kept: Bools = end > start
    if number > 0:
        kept &= (start > span.start + reach) | (end >= spans[number - 1].end - reach)
    if number + 1 < len(spans):
        kept &= (end < span.end - reach) | (start <= spans[number + 1].start + reach)
    return kept


def merge_windows(
    candidates: Sequence[Proposals], spans: Sequence[FeatureSpan], *, tolerance: float, suppress: Suppress
) -> Proposals:
    """Return the proposals of a video from the candidates of its windows, before suppression.

    Those of `kept_candidates` are suppressed together, as if they came from one input.

    Args:
        candidates: of each window in order, in seconds of the video.
        spans: of the windows, all of the same length.
        tolerance: see `kept_candidates`.
        suppress: selection of proposals.

    Returns:
        Proposals in seconds.
    """
    length = spans[0].end - spans[0].start
    together = Proposals.concatenate(
        [
            found[np.flatnonzero(kept_candidates(found.segments, spans, number, tolerance=tolerance))]
            for number, found in enumerate(candidates)
        ]
    )
    found = suppress(replace(together, segments=together.segments / length), len(spans))
    return replace(found, segments=found.segments * length)


def merge_all(
    found: Mapping[int, Proposals], windows: Windows, *, tolerance: float, suppress: Suppress
) -> dict[int, Proposals]:
    """Return the proposals of videos, by row, from the candidates of windows, by row; see `merge_windows`.

    Of a video, some of whose windows could not be read, the others count.
    """
    merged = {}
    for video, rows in groupby(sorted(found), key=lambda row: int(windows.video[row])):
        candidates, spans = zip(*((found[row], windows.pieces.spans[row]) for row in rows), strict=True)
        merged[video] = merge_windows(candidates, spans, tolerance=tolerance, suppress=suppress)
    return merged
