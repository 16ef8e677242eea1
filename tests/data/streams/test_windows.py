"""Which windows a stream has, and which frames they show, against decoding everything and choosing by time."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.crops import ViewCrops
from kinema.data.sampling import Sampling, sample_test
from kinema.data.streams.stream import Frame
from kinema.data.streams.windows import ROUNDING, Window, WindowSampler, WindowSchedule
from kinema.data.views import Views, read_views
from kinema.errors import UserError

CROPS = ViewCrops(short_side=4, size=4)


def numbered(index: int) -> np.ndarray:
    """A 4 × 4 frame that holds its number in two digits of base 256."""
    return np.broadcast_to(np.array([index % 256, index // 256, 0], np.uint8), (4, 4, 3)).copy()


def stream(times: Sequence[float]) -> list[Frame]:
    return [Frame(float(seconds), partial(numbered, index)) for index, seconds in enumerate(times)]


def shown(window: Window) -> list[list[int]]:
    """Numbers of the frames of a window, (V, T)."""
    pixels = window.clips()[:, :, :2, 0, 0].long()
    numbers: list[list[int]] = (pixels[..., 0] + 256 * pixels[..., 1]).tolist()
    return numbers


def by_brute_force(
    times: Sequence[float], fps: float, schedule: WindowSchedule, sampling: Sampling
) -> list[tuple[int, float, list[list[int]]]]:
    """All windows of a video of which all times are known: number, end, frames."""
    duration = times[-1] + 1 / fps
    n = max(round(schedule.window * fps), 1)
    answers, index = [], 0
    while True:
        start, end = index * schedule.every, index * schedule.every + schedule.window
        inside = end <= duration + ROUNDING
        reached = index and start - schedule.every + schedule.window >= duration - ROUNDING
        short = start + schedule.window / 2 > duration + ROUNDING
        if index and not inside and ((reached and schedule.every <= schedule.window) or short):
            return answers
        clips = []
        for row in sample_test(sampling, n):
            moments = start + (row + 0.5) * (schedule.window / n)
            clips.append([max(sum(time - ROUNDING <= moment for time in times) - 1, 0) for moment in moments.tolist()])
        answers.append((index, end if inside else duration, clips))
        index += 1


samplings = st.builds(
    Sampling,
    clip_len=st.integers(1, 5),
    frame_interval=st.integers(1, 4),
    num_clips=st.integers(1, 3),
    joined=st.booleans(),
    twice=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.01, 0.04, 0.033, 0.1, 0.5, 3.0]), min_size=0, max_size=60),
    begin=st.sampled_from([0.0, 0.3, 4.0]),
    every=st.sampled_from([0.1, 0.25, 0.7, 1.0, 2.5]),
    window=st.sampled_from([0.2, 1.0, 1.3, 2.0]),
    fps=st.sampled_from([5.0, 25.0, 29.97]),
    sampling=samplings,
)
def test_windows_are_those_of_all_frames_at_once(
    gaps: list[float], begin: float, every: float, window: float, fps: float, sampling: Sampling
) -> None:
    times = np.cumsum([begin, *gaps]).tolist()
    schedule = WindowSchedule(every=every, window=window)
    sampler = WindowSampler(schedule, Views(sampling=sampling, crops=CROPS), fps=fps)
    expected = by_brute_force(times, fps, schedule, sampling)
    answers = list(sampler.windows(stream(times)))
    assert [one.index for one in answers] == [index for index, _, _ in expected]
    for one, (index, end, clips) in zip(answers, expected, strict=True):
        assert one.start == pytest.approx(index * every)
        assert one.end == pytest.approx(end)
        distinct = {tuple(clip) for clip in clips}
        assert {tuple(clip) for clip in shown(one)} == distinct
        if len(one.positions) == len(clips):
            assert shown(one) == clips


@pytest.mark.parametrize("crops", ["center", "three", "ten"])
def test_a_window_is_what_testing_on_that_part_of_the_video_reads(crops: str) -> None:
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (100, 20, 30, 3), dtype=np.uint8))
    views = Views(
        sampling=Sampling(clip_len=4, frame_interval=2, num_clips=3),
        crops=ViewCrops(crops=crops, short_side=18, size=16),  # type: ignore[arg-type]
    )
    sampler = WindowSampler(WindowSchedule(every=1, window=2), views, fps=25)
    stream = [Frame(index / 25, frames[index].numpy) for index in range(100)]

    class Part:
        path, fps = "part", 25.0

        def __init__(self, first: int) -> None:
            self.first = first

        def __len__(self) -> int:
            return 50

        def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
            return frames[[self.first + index for index in indices]]

    answers = list(sampler.windows(stream))
    assert len(answers) == 3
    for window in answers:
        expected = read_views(Part(25 * window.index), views)
        assert torch.equal(window.clips(), expected)
        assert window.clips().stride() == expected.stride()


def test_windows_come_as_soon_as_their_end_is_reached() -> None:
    sampler = WindowSampler(
        WindowSchedule(every=1, window=2), Views(sampling=Sampling(clip_len=2), crops=CROPS), fps=10
    )
    ready = [[window.index for window in sampler.push(frame)] for frame in stream(np.arange(41) / 10)]
    assert [(moment, indices) for moment, indices in enumerate(ready) if indices] == [(20, [0]), (30, [1]), (40, [2])]


def test_frames_are_converted_once_and_only_if_sampled() -> None:
    converted = list[int]()

    def convert(index: int) -> np.ndarray:
        converted.append(index)
        return numbered(index)

    frames = [Frame(index / 25, partial(convert, index)) for index in range(500)]
    views = Views(sampling=Sampling(clip_len=1, num_clips=4, joined=True), crops=CROPS)
    answers = list(WindowSampler(WindowSchedule(every=0.2, window=2), views, fps=25).windows(frames))
    assert len(converted) == len(set(converted)) < 450
    sampled = {number for window in answers for clip in shown(window) for number in clip}
    # Where the stream ends is not known in advance: the last window would have been followed by others.
    assert sampled == {number for number in converted if number in sampled or number / 25 < answers[-1].start}


@pytest.mark.parametrize("seconds", [30, 300])
def test_the_frames_held_do_not_depend_on_the_length(seconds: int) -> None:
    views = Views(sampling=Sampling(clip_len=8, frame_interval=3), crops=CROPS)
    sampler = WindowSampler(WindowSchedule(every=0.5, window=2), views, fps=25)
    most = 0
    for frame in stream(np.arange(seconds * 25) / 25):
        for window in sampler.push(frame):
            del window
        most = max(most, sampler.frames_held)
    # Of each of 4 open windows 8 frames, of which every third frame in 2 s is one.
    assert 8 <= most <= 32


def test_a_pause_of_an_hour_opens_one_window_at_a_time() -> None:
    views = Views(sampling=Sampling(clip_len=2), crops=CROPS)
    sampler = WindowSampler(WindowSchedule(every=0.5, window=2), views, fps=25)
    list(sampler.push(stream([0.0])[0]))
    count = 0
    for window in sampler.push(Frame(3600.0, partial(numbered, 1))):
        assert shown(window) == [[0, 0]]
        assert len(sampler._open) <= 1
        count += 1
    assert count == 7197


def test_windows_go_on_from_any_number() -> None:
    views = Views(sampling=Sampling(clip_len=4, frame_interval=2), crops=CROPS)
    schedule, frames = WindowSchedule(every=0.3, window=1), stream(np.arange(100) / 25)
    whole = list(WindowSampler(schedule, views, fps=25).windows(frames))
    for first in range(len(whole) + 2):
        sampler = WindowSampler(schedule, views, fps=25, first=first)
        needed = [frame for frame in frames if frame.seconds > schedule.start(first) - 0.1]
        rest = list(sampler.windows(needed))
        assert [(one.index, one.end, shown(one)) for one in rest] == [
            (one.index, one.end, shown(one)) for one in whole[first:]
        ]


@given(every=st.floats(0.05, 3), seconds=st.floats(0, 500))
def test_the_first_window_from_a_moment(every: float, seconds: float) -> None:
    schedule = WindowSchedule(every=every, window=1)
    index = schedule.first_from(seconds)
    assert schedule.start(index) >= seconds - 2e-3
    assert index == 0 or schedule.start(index - 1) < seconds


@pytest.mark.parametrize(("every", "window"), [(0, 1), (1, 0), (float("nan"), 1), (1, float("inf")), (-1, 2)])
def test_impossible_schedules(every: float, window: float) -> None:
    with pytest.raises(UserError, match="must be a number of seconds"):
        WindowSchedule(every=every, window=window)
