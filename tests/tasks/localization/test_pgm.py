"""BSN's proposal generation against plain loops and against the reference's numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinema.tasks.localization.bsn.options import GenerationOptions, ProposalFeatureOptions
from kinema.tasks.localization.bsn.pgm import describe, generate, match
from kinema.tasks.localization.proposals import peaks
from tests.tasks.localization import plain_loops

Floats = NDArray[Any]


def probabilities(seed: int, parts: int, *, steps: int = 0) -> Floats:
    """(3, parts) float32: action, start, end; of few different values where `steps` is given, for ties."""
    values = np.random.default_rng(seed).random((3, parts), np.float32)
    return np.ceil(values * steps) / np.float32(steps) if steps else values


@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(2, 60), steps=st.sampled_from([0, 3]))
@settings(max_examples=25, deadline=None)
def test_candidates_equal_plain_loops(seed: int, parts: int, steps: int) -> None:
    _, start, end = probabilities(seed, parts, steps=steps)
    found = generate(start, end, GenerationOptions(peak_threshold=0.4, max_candidates=10_000))
    expected = np.array(plain_loops.candidates(start, end, 0.4))
    got = np.column_stack([found.segments, found.starts, found.ends])
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.scores, expected[:, 2] * expected[:, 3])


def test_only_the_best_candidates_are_kept() -> None:
    _, start, end = probabilities(0, 50)
    every = generate(start, end, GenerationOptions(max_candidates=10_000))
    some = generate(start, end, GenerationOptions(max_candidates=17))
    assert len(every.scores) > 100
    np.testing.assert_array_equal(some.segments, every.segments[:17])
    np.testing.assert_array_equal(some.scores, np.sort(every.scores)[::-1][:17])


def test_peaks_are_above_both_neighbours_or_high() -> None:
    low = np.array([0.9, 0.1, 0.3, 0.2, 0.2, 0.2, 0.1, 0.8])
    assert np.flatnonzero(peaks(low, threshold=0.5)).tolist() == [2]
    assert np.flatnonzero(peaks(low, threshold=0.15)).tolist() == [2, 3, 4, 5]


@given(seed=st.integers(0, 2**32 - 1), instances=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_match_equals_plain_loops(seed: int, instances: int) -> None:
    random = np.random.default_rng(seed)
    segments = np.sort(random.random((30, 2)), axis=1) + np.array([0, 0.01])
    truth = np.sort(random.random((instances, 2)), axis=1)
    expected = [plain_loops.covered(tuple(each), [tuple(other) for other in truth]) for each in segments.tolist()]
    np.testing.assert_allclose(np.column_stack(match(segments, truth)), expected, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(4, 120))
@settings(max_examples=25, deadline=None)
def test_features_equal_plain_loops(seed: int, parts: int) -> None:
    action, start, end = probabilities(seed, parts)
    segments = generate(start, end, GenerationOptions(max_candidates=40)).segments
    expected = plain_loops.features(action, [tuple(each) for each in segments.tolist()])
    np.testing.assert_allclose(describe(action, segments, ProposalFeatureOptions()), expected, atol=1e-12)


def test_a_feature_outside_the_video_is_zero_and_inside_actionness() -> None:
    options = ProposalFeatureOptions(action_samples=2, start_samples=3, end_samples=3, points=1)
    described = describe(np.ones(100), np.array([[0.0, 1.0]]), options)
    # Each sample is the mean of its two borders: the start's are at -0.3, -0.1, 0.1 and 0.3 of the video.
    np.testing.assert_allclose(described, [[0.5, 0.5, 0, 0.5, 1, 1, 0.5, 0]])


def test_the_references_numbers(shared: Path) -> None:
    folder = shared / "parity" / "numbers"
    numbers = np.load(folder / "bsn_pgm.npz")
    entries = {each["video_name"]: each for each in json.loads((folder / "videos.json").read_text())}
    videos = [key.removeprefix("tem__") for key in numbers if key.startswith("tem__")]
    assert len(videos) == 5
    for video in videos:
        entry = entries[video]
        action, start, end = numbers[f"tem__{video}"][:, :3].astype(np.float32).T
        found = generate(start, end, GenerationOptions())
        seconds = entry["duration_second"] * entry["feature_frame"] / entry["duration_frame"]
        truth = np.array([each["segment"] for each in entry["annotations"]]) / seconds
        matched = match(found.segments, truth)
        got = np.column_stack([found.segments, found.starts, found.ends, found.scores, *matched])
        np.testing.assert_allclose(got, numbers[f"prop__{video}"], atol=1e-12, err_msg=video)
        # The reference finds its sampling points in float32.
        described = describe(action, found.segments, ProposalFeatureOptions())
        np.testing.assert_allclose(described, numbers[f"feat__{video}"], atol=2e-5, err_msg=video)


@pytest.mark.parametrize("parts", [2, 3])
def test_hardly_any_parts(parts: int) -> None:
    found = generate(np.full(parts, 0.5), np.full(parts, 0.5), GenerationOptions())
    assert len(found.segments) == parts * (parts - 1) // 2
