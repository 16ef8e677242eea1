"""Smoothing and segments, against plain loops over whole curves and SciPy."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kinema.errors import UserError
from kinema.tasks.timeline.scorer import WindowScores
from kinema.tasks.timeline.segments import SegmentFinder, SegmentOptions, find_segments
from kinema.tasks.timeline.smoothing import smooth, smoother

CLASSES = ("run", "jump", "background")
EVERY, WINDOW = 0.5, 2.0

levels = st.sampled_from([0.0, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0])
curves = st.integers(1, 25).flatmap(lambda n: arrays(np.float32, (n, 3), elements=levels.map(np.float32)))


def windows(curve: np.ndarray, seconds: float | None = None) -> list[WindowScores]:
    """Windows with these scores, of which the last one is cut by the end of the video."""
    ends = [min(k * EVERY + WINDOW, seconds or float("inf")) for k in range(len(curve))]
    return [WindowScores(index=k, start=k * EVERY, end=ends[k], scores=row, latency=0.0) for k, row in enumerate(curve)]


@given(curve=curves, rows=st.sampled_from([3, 5, 7]))
def test_median(curve: np.ndarray, rows: int) -> None:
    half = rows // 2
    expected = [np.median(curve[max(k - half, 0) : k + half + 1], axis=0) for k in range(len(curve))]
    assert np.allclose(smooth(curve, "median", seconds=rows * EVERY, every=EVERY), expected)
    inner = slice(half, len(curve) - half)
    if len(curve) > 2 * half:
        assert np.allclose(scipy.ndimage.median_filter(curve, (rows, 1))[inner], np.array(expected)[inner])


@given(curve=curves, seconds=st.floats(0.1, 5))
def test_exponential(curve: np.ndarray, seconds: float) -> None:
    weight = 1 - np.exp(-EVERY / seconds)
    start = (1 - weight) * curve[:1]
    expected, _ = scipy.signal.lfilter([weight], [1, weight - 1], curve, axis=0, zi=start)
    assert np.allclose(smooth(curve, "exponential", seconds=seconds, every=EVERY), expected, atol=1e-5)


@given(curve=curves, kind=st.sampled_from(["none", "median", "exponential"]))
def test_smoothed_rows_are_delayed_by_what_is_said(curve: np.ndarray, kind: str) -> None:
    one = smoother(kind, seconds=2.5, every=EVERY)  # type: ignore[arg-type]
    counts = [len(one.push(row)) for row in curve]
    assert counts == [int(k >= one.delay) for k in range(len(curve))]
    assert len(one.finish()) == min(one.delay, len(curve))


def by_plain_loop(curve: np.ndarray, options: SegmentOptions, end: float) -> list[tuple[int, float, float, float]]:
    """Segments of a smoothed curve: label, start, end, mean score."""
    centres = [k * EVERY + WINDOW / 2 for k in range(len(curve))]
    centres[-1] = ((len(curve) - 1) * EVERY + end) / 2
    bounds = [0.0, *(centre + EVERY / 2 for centre in centres[:-1]), max(end, centres[-1] + EVERY / 2)]
    found = []
    for label in (0, 1):
        first = 0
        while first < len(curve):
            last = first
            while last < len(curve) and curve[last, label] >= np.float32(options.low):
                last += 1
            if last > first and max(curve[first:last, label]) >= np.float32(options.high):
                start, stop = bounds[first], bounds[last]
                if stop - start >= options.shortest - 1e-6:
                    found.append((label, start, stop, float(np.mean(curve[first:last, label]))))
            first = last + 1
    return found


@given(
    curve=curves,
    smoothing=st.sampled_from(["none", "median", "exponential"]),
    thresholds=st.sampled_from([(0.3, 0.5), (0.5, 0.5), (0.2, 1.0), (0.7, 0.7)]),
    shortest=st.sampled_from([0.0, 1.0, 2.0]),
    cut=st.sampled_from([0.0, 0.3]),
)
def test_segments(
    curve: np.ndarray, smoothing: str, thresholds: tuple[float, float], shortest: float, cut: float
) -> None:
    low, high = thresholds
    options = SegmentOptions(smoothing=smoothing, low=low, high=high, shortest=shortest)  # type: ignore[arg-type]
    end = (len(curve) - 1) * EVERY + WINDOW - cut
    smoothed = smooth(curve, options.smoothing, seconds=options.smooth_seconds, every=EVERY)
    expected = by_plain_loop(smoothed, options, end)
    found = find_segments(windows(curve, end), options, CLASSES, every=EVERY, background="background")
    assert [one.score for one in found] == sorted([one.score for one in found], reverse=True)
    answers = sorted((one.label, one.start, one.end, one.score) for one in found)
    assert [one[0] for one in answers] == [one[0] for one in expected]
    assert np.allclose([one[1:] for one in answers], [one[1:] for one in expected], atol=1e-5)


def test_segments_are_known_as_soon_as_they_end() -> None:
    curve = np.zeros((20, 3), np.float32)
    curve[5:9, 0] = 0.9
    for smoothing, moment in (("none", 9), ("median", 10)):
        finder = SegmentFinder(SegmentOptions(smoothing=smoothing), CLASSES, every=EVERY)  # type: ignore[arg-type]
        found = [finder.push(answer) for answer in windows(curve)]
        assert [k for k, segments in enumerate(found) if segments] == [moment]
        assert finder.delay == (moment - 9) * EVERY
        [segment] = found[moment]
        assert (segment.label, segment.start, segment.end) == (0, 5 * EVERY + 0.75, 8 * EVERY + 1.25)
        assert finder.finish() == []


def test_active_classes() -> None:
    curve = np.zeros((4, 3), np.float32)
    curve[1:3] = [0.4, 0.6, 0.9]
    finder = SegmentFinder(SegmentOptions(smoothing="none"), CLASSES, every=EVERY, background="background")
    active = []
    for answer in windows(curve):
        finder.push(answer)
        active.append(finder.active)
    assert active == [[], [1], [1], []]


def test_a_segment_goes_on_across_missing_windows() -> None:
    answers = windows(np.full((9, 3), 0.8, np.float32))
    found = find_segments([*answers[2:4], *answers[6:]], SegmentOptions(smoothing="none"), ("a", "b", "c"), every=EVERY)
    assert [(one.start, one.end) for one in found] == [(1.75, 6.0)] * 3


def test_a_background_that_is_no_class() -> None:
    with pytest.raises(UserError, match="backgruond is no class of the model; did you mean 'background'"):
        SegmentFinder(SegmentOptions(), CLASSES, every=EVERY, background="backgruond")


def test_thresholds_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match=r"low 0.6 must not be greater than high 0.5"):
        SegmentOptions(low=0.6)
