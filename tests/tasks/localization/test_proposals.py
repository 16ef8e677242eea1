"""Proposals of BMN and BSN from their networks' outputs, against plain loops and the reference's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.features.spans import FeatureSpan, whole_video
from kinema.tasks.localization.bmn import bmn_proposals
from kinema.tasks.localization.bsn.options import GenerationOptions
from kinema.tasks.localization.bsn.pgm import bsn_proposals, generate
from kinema.tasks.localization.metrics.results import Proposals, in_seconds
from kinema.tasks.localization.soft_nms import SoftNmsOptions
from tests.tasks.localization import plain_loops


@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(2, 40), share=st.sampled_from([0.5, 1.0]))
@settings(max_examples=25, deadline=None)
def test_bmn_equals_plain_loops(seed: int, parts: int, share: float) -> None:
    random = np.random.default_rng(seed)
    start, end = random.random((2, parts))
    confidence = random.random((2, max(int(parts * share), 1), parts))
    found = bmn_proposals(confidence, start, end, SoftNmsOptions(max_proposals=30))
    candidates = np.array(plain_loops.bmn_candidates(confidence, start, end)).reshape(-1, 3)
    chosen = plain_loops.soft_nms(candidates[:, :2], candidates[:, 2], alpha=0.4, low=0.5, high=0.9, most=30)
    np.testing.assert_allclose(found.scores, [score for _, score in chosen], rtol=1e-12)
    np.testing.assert_allclose(found.segments, candidates[[index for index, _ in chosen], :2], atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_bsn_equals_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    start, end = random.random((2, 40))
    candidates = generate(start, end, GenerationOptions())
    confidence = random.random(len(candidates.segments))
    options = SoftNmsOptions(alpha=0.75, low_threshold=0.65, high_threshold=0.9)
    found = bsn_proposals(candidates, confidence, options)
    rows = np.array(plain_loops.candidates(start, end, 0.5))
    scores = rows[:, 2] * rows[:, 3] * confidence
    chosen = plain_loops.soft_nms(rows[:, :2], scores, alpha=0.75, low=0.65, high=0.9, most=100)
    np.testing.assert_allclose(found.scores, [score for _, score in chosen], rtol=1e-12)
    np.testing.assert_allclose(found.segments, rows[[index for index, _ in chosen], :2], atol=1e-12)


def test_the_references_numbers(shared: Path) -> None:
    folder = shared / "parity" / "numbers"
    numbers = np.load(folder / "bmn_post.npz")
    entries = json.loads((folder / "videos.json").read_text())
    for k in range(5):
        entry = entries[k]
        found = bmn_proposals(numbers[f"conf__{k}"], numbers[f"start__{k}"], numbers[f"end__{k}"], SoftNmsOptions())
        share = entry["duration_frame"] // 16 * 16 / entry["duration_frame"]  # as the reference has it
        found = in_seconds(found, whole_video(entry["duration_second"], share=share))
        np.testing.assert_allclose(found.segments, numbers[f"out__{k}"][:, :2], atol=1e-9)
        np.testing.assert_allclose(found.scores, numbers[f"out__{k}"][:, 2], rtol=1e-9)


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        (whole_video(40), [[0, 20], [10, 40]]),
        (whole_video(40, share=0.5), [[0, 10], [5, 20]]),
        (FeatureSpan(0, 48, 40), [[0, 24], [12, 40]]),  # the last stride reaches beyond the end of the video
        (FeatureSpan(2, 42, 42), [[2, 22], [12, 42]]),  # sound precedes the picture
    ],
)
def test_seconds_stay_within_what_features_cover_and_the_video(span: FeatureSpan, seconds: list[list[float]]) -> None:
    found = Proposals(segments=np.array([[-0.1, 0.5], [0.25, 1.2]]), scores=np.array([0.9, 0.1]))
    assert in_seconds(found, span).segments.tolist() == seconds
