"""Frame sampling against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.samples import SampleGenerator
from kinema.data.sampling import Sampling, sample_test, sample_train

samplings = st.builds(
    Sampling,
    clip_len=st.integers(1, 12),
    frame_interval=st.integers(1, 6),
    num_clips=st.integers(1, 12),
    joined=st.booleans(),
    twice=st.booleans(),
)


def clips_of(sampling: Sampling, frames: np.ndarray) -> list[list[int]]:
    return frames.reshape(-1, sampling.clip_len).tolist()


@given(samplings, st.integers(1, 400), st.integers(0, 2**32))
def test_train_clips_start_inside_their_own_part(sampling: Sampling, num_frames: int, seed: int) -> None:
    frames = sample_train(sampling, num_frames, np.random.default_rng(seed))
    assert frames.shape == ((1, sampling.frames) if sampling.joined else (sampling.num_clips, sampling.clip_len))
    part = (num_frames - sampling.clip_len * sampling.frame_interval + 1) // sampling.num_clips
    for number, clip in enumerate(clips_of(sampling, frames)):
        if part > 0:
            assert number * part <= clip[0] < (number + 1) * part
        assert clip == [(clip[0] + step * sampling.frame_interval) % num_frames for step in range(sampling.clip_len)]


@given(samplings, st.integers(1, 400))
def test_test_clips_are_centred_in_equal_parts(sampling: Sampling, num_frames: int) -> None:
    room = max(num_frames - sampling.clip_len * sampling.frame_interval + 1, 0)
    part = room / sampling.num_clips
    centred = [int(part * number + part / 2) for number in range(sampling.num_clips)]
    begins = [int(part * number) for number in range(sampling.num_clips)] if sampling.twice else []
    expected = [
        [(start + step * sampling.frame_interval) % num_frames for step in range(sampling.clip_len)]
        for start in begins + centred
    ]
    assert clips_of(sampling, sample_test(sampling, num_frames)) == expected


def test_train_segments_reach_every_frame_of_their_part() -> None:
    sampling = Sampling(clip_len=1, num_clips=3, joined=True)
    rng = np.random.default_rng(0)
    seen = {tuple(sample_train(sampling, 9, rng)[0]) for _ in range(2000)}
    assert seen == {(a, b, c) for a in range(3) for b in range(3, 6) for c in range(6, 9)}


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_a_video_shorter_than_the_segments_repeats_frames_in_order(num_frames: int) -> None:
    sampling = Sampling(clip_len=1, num_clips=8, joined=True)
    frames = sample_train(sampling, num_frames, np.random.default_rng(0))[0]
    assert frames.tolist() == sorted(frames.tolist())
    assert frames.max() < num_frames


def test_slowfast_4x16_takes_the_clip_of_64_frames_in_the_middle() -> None:
    frames = sample_test(Sampling(clip_len=4, frame_interval=16), 300)
    assert frames.tolist() == [[118, 134, 150, 166]]


names = st.tuples(st.integers(0, 2**80), st.integers(0, 1000), st.integers(0, 2**31))


@given(names, names, st.integers(0, 5))
def test_numbers_depend_on_the_name_alone(name: tuple[int, ...], other: tuple[int, ...], drawn: int) -> None:
    generator = SampleGenerator()
    expected = SampleGenerator()(name).integers(2**63, size=8).tolist()
    generator(other).integers(100, size=drawn)  # half a number may be left over
    assert generator(name).integers(2**63, size=8).tolist() == expected
    assert (SampleGenerator()(other).integers(2**63, size=8).tolist() == expected) == (other == name)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_numbers_of_neighbouring_names_are_independent_and_even(part: int) -> None:
    """Means, variances and correlations within five standard deviations of what they would be."""
    generator, count = SampleGenerator(), 20_000
    numbers = np.array([generator(np.roll([k, 0, 0], part).tolist()).random(2) for k in range(count)])
    deviation = 1 / np.sqrt(12 * count)
    assert np.abs(numbers.mean(0) - 0.5).max() < 5 * deviation
    assert np.abs(numbers.var(0) - 1 / 12).max() < 5 / np.sqrt(180 * count)
    for one, two in (
        (numbers[:-1, 0], numbers[1:, 0]),
        (numbers[:, 0], numbers[:, 1]),
        (numbers[:-1, 1], numbers[1:, 0]),
    ):
        assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(count)


@pytest.mark.parametrize(("clip_len", "interval"), [(8, 8), (4, 16), (32, 2), (64, 2), (16, 4), (1, 8), (13, 6)])
def test_spread_clips_are_pyslowfasts(clip_len: int, interval: int) -> None:
    """From the first of clip_len · interval frames to the last, in float32 and rounded down."""
    sampling = Sampling(clip_len=clip_len, frame_interval=interval, num_clips=3, spread=True)
    plain = Sampling(clip_len=clip_len, frame_interval=interval, num_clips=3)
    frames, starts = sample_test(sampling, 300), sample_test(plain, 300)[:, 0]
    for clip, start in zip(frames.tolist(), starts.tolist(), strict=True):
        assert clip == torch.linspace(start, start + clip_len * interval - 1, clip_len).long().tolist()
