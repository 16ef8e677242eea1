"""Instances that are too short for the grid of a localizer: how well they can be found, and a warning of them."""

import logging
from typing import NamedTuple

import numpy as np

from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.data.windows import Windows
from kinema.tasks.localization.metrics.segments import Bools, Floats, Ints

log = logging.getLogger(__name__)


def warn_of_short_instances(
    videos: Videos, parts: int, *, offset: float, what: str, windows: Windows | None = None
) -> None:
    """Warn where instances are shorter than the shortest segment that a localizer can propose, or longer than windows.

    Args:
        videos: with their instances.
        parts: points in time that the features of an input are brought to: a segment is at least one of these long.
        offset: where in a part segments start and end, a fraction of it: 0 for BMN, 0.5 for BSN.
        what: which videos these are.
        windows: what the videos are cut into, if they are.
    """
    rows, seconds, lengths, short, long = compare_lengths(videos, parts, windows=windows)
    if not short.any() and not long.any():
        return
    overlaps = attainable_overlaps(videos, parts, offset=offset, windows=windows)
    share = 100 * int((overlaps >= 0.5).sum()) / int((videos.truth.label >= 0).sum())
    if short.any():
        longest = int(lengths.argmax())
        log.warning(
            "%s: %d of %d instances, in %d videos, are shorter than the shortest segment that %d points allow, such as "
            "%.1f s in %s %s of %.0f s: at tIoU 0.5 at most %.1f %% of the instances can be found. Use more points "
            "(--data.parts, --model.parts), or %s windows (--data.windows.seconds)",
            what, int(short.sum()), len(seconds), len(np.unique(rows[short])), parts,
            lengths[longest] / parts, "video" if windows is None else "windows of video", videos.name(longest),
            lengths[longest], share, "overlapping" if windows is None else "shorter",
        )  # fmt: skip
    if long.any():
        log.warning(
            "%s: %d of %d instances are longer than a window of their video, such as one of %.1f s in windows of "
            "%.1f s: at tIoU 0.5 at most %.1f %% of the instances can be found",
            what, int(long.sum()), len(seconds), seconds.max(), lengths[rows[seconds.argmax()]], share,
        )  # fmt: skip


class Lengths(NamedTuple):
    """Lengths of the instances of videos, one video after the other, and of what the network sees of these at a time.

    rows: (n,) the video of each instance. seconds: (n,) length of each. inputs: (videos,) length of each video, or of
    its longest window, in seconds. short: (n,) whether it is shorter than the shortest segment of the grid. long: (n,)
    whether it is longer than the input.
    """

    rows: Ints
    seconds: Floats
    inputs: Floats
    short: Bools
    long: Bools


def compare_lengths(videos: Videos, parts: int, *, windows: Windows | None = None) -> Lengths:
    """Compare the lengths of instances with a grid of `parts` points in time; see `warn_of_short_instances`."""
    inputs, owner = (videos, np.arange(len(videos))) if windows is None else (windows.pieces, windows.video)
    lengths = np.zeros(len(videos))
    np.maximum.at(lengths, owner, [span.end - span.start for span in inputs.spans])
    rows = np.repeat(np.arange(len(videos)), [len(each) for each in videos.instances])
    whole = np.array([span.end - span.start for span in videos.spans])
    seconds = np.diff(np.concatenate([np.zeros((0, 2)), *videos.instances]))[:, 0] * whole[rows]
    short, long = seconds * parts < lengths[rows] * (1 - 1e-6), seconds > lengths[rows] * (1 + 1e-6)
    return Lengths(rows, seconds, lengths, short, long)


def attainable_overlaps(videos: Videos, parts: int, *, offset: float, windows: Windows | None = None) -> Floats:
    """Return the largest tIoU of each instance, one video after the other, with a segment that can be proposed.

    See `warn_of_short_instances`.
    """
    if windows is None:
        return np.concatenate([np.zeros(0), *(best_overlaps(each, parts, offset=offset) for each in videos.instances)])
    best = [np.zeros(len(each)) for each in videos.instances]
    for row, (start, end) in zip(windows.video.tolist(), windows.parts, strict=True):
        inside = (videos.instances[row] - start) / (end - start)
        best[row] = np.maximum(best[row], best_overlaps(inside, parts, offset=offset))
    return np.concatenate([np.zeros(0), *best])


def best_overlaps(segments: Floats, parts: int, *, offset: float) -> Floats:
    """Return the largest tIoU of each of `segments` (n, 2), fractions of a video, with a segment of whole parts.

    That is one whose start and end are the points (k + `offset`) / `parts` next to the segment's own.
    """
    position = segments * parts - offset
    best = np.zeros(len(segments))
    for start in (np.floor(position[:, 0]), np.ceil(position[:, 0])):
        for end in (np.floor(position[:, 1]), np.ceil(position[:, 1])):
            first, last = start.clip(0, None), end.clip(None, parts - 2 * offset)
            shared = (np.minimum(last, position[:, 1]) - np.maximum(first, position[:, 0])).clip(0, None)
            union = np.maximum(last - first + np.diff(position)[:, 0] - shared, 1e-12)
            best = np.maximum(best, np.where(last > first, shared / union, 0))
    return best
