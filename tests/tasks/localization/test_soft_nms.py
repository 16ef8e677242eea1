"""Soft-NMS against plain loops that bring every score up to date in every round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.tasks.localization.soft_nms import SoftNmsOptions, soft_nms
from tests.tasks.localization import plain_loops


@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, 80),
    steps=st.sampled_from([4, 1000]),
    low=st.sampled_from([0.0, 0.5, 0.65]),
    high=st.sampled_from([0.3, 0.9]),
    alpha=st.sampled_from([0.1, 0.4, 0.75]),
    most=st.sampled_from([1, 20, 100]),
)
@settings(max_examples=60, deadline=None)
def test_equals_plain_loops(
    seed: int, number: int, steps: int, low: float, high: float, alpha: float, most: int
) -> None:
    random = np.random.default_rng(seed)
    places = np.sort(random.integers(0, 20, (number, 2)), axis=1)
    segments = (places + np.array([0, 1])) / 21
    scores = random.integers(0, steps + 1, number) / steps  # few steps make ties, and zeros
    options = SoftNmsOptions(alpha=alpha, low_threshold=low, high_threshold=high, max_proposals=most)
    chosen, decayed = soft_nms(segments, scores, options)
    expected = plain_loops.soft_nms(segments, scores, alpha=alpha, low=low, high=high, most=most)
    assert len(chosen) == len(expected) == min(number, most)
    np.testing.assert_allclose(decayed, [score for _, score in expected], rtol=1e-12, atol=0)
    assert chosen.tolist() == [index for index, _ in expected]


def test_many_candidates() -> None:
    """All pairs of 100 parts: 4,950, of which most never lead."""
    first, last = np.triu_indices(100, k=1)
    segments = np.column_stack([first, last]) / 100
    scores = np.random.default_rng(1).random(len(first))
    chosen, decayed = soft_nms(segments, scores, SoftNmsOptions())
    expected = plain_loops.soft_nms(segments, scores, alpha=0.4, low=0.5, high=0.9, most=100)
    assert chosen.tolist() == [index for index, _ in expected]
    np.testing.assert_allclose(decayed, [score for _, score in expected], rtol=1e-12)


def test_the_longer_the_better_proposal_the_more_overlap_it_bears() -> None:
    options = SoftNmsOptions(alpha=0.5, low_threshold=0.5, high_threshold=0.9)
    short = np.array([[0.0, 0.1], [0.0, 0.07]])  # tIoU 0.7, threshold 0.54
    long = np.array([[0.0, 1.0], [0.0, 0.7]])  # tIoU 0.7, threshold 0.9
    scores = np.array([0.9, 0.8])
    assert soft_nms(short, scores, options)[1] == pytest.approx([0.9, 0.8 * np.exp(-0.49 / 0.5)])
    assert soft_nms(long, scores, options)[1] == pytest.approx([0.9, 0.8])


def test_what_it_is_given_stays_as_it_is() -> None:
    segments = np.array([[0.0, 0.5], [0.0, 0.5], [0.1, 0.5]])
    scores = np.array([0.1, 0.9, 0.8], np.float32)
    soft_nms(segments, scores, SoftNmsOptions())
    np.testing.assert_array_equal(scores, np.array([0.1, 0.9, 0.8], np.float32))
