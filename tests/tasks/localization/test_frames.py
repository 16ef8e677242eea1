"""Frame-level average precision: against official programs' answers, and against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.frames import frame_average_precision
from kinema.tasks.localization.metrics.protocols import FrameProtocol
from tests.tasks.localization.drawn_case import drawn_case


def test_the_answer_of_charades_program() -> None:
    """Numbers of Charades_v1_localize (a port to Python), given the highest score of the detections at each point."""
    ap, positives, points = frame_average_precision(*drawn_case(), protocol="charades", rate=1)
    assert ap.tolist() == pytest.approx([0.63494836, 0.80531817, 0.72147486, 0.51497662], abs=1e-8)
    assert positives.tolist() == [30, 33, 49, 42]
    assert points == 12 * 25


def test_multithumos_counts_points_inside_segments() -> None:
    """Labels as in the code of super-events and later ones, at 10 points per second; AP as in Charades' program."""
    ap, positives, points = frame_average_precision(*drawn_case(), protocol="multithumos", rate=10)
    assert ap.tolist() == pytest.approx([0.63909674, 0.71482692, 0.73927843, 0.51435701], abs=1e-8)
    assert positives.tolist() == [2939, 3058, 4702, 3881]
    assert points == 12 * 2400


segments = st.tuples(st.integers(-2, 20), st.integers(0, 8)).map(lambda pair: (pair[0] / 2, (pair[0] + pair[1]) / 2))
found_ones = st.tuples(st.integers(0, 3), segments, st.integers(0, 1), st.sampled_from([0.1, 0.2, 0.2, 0.9]))


@given(
    durations=st.lists(st.sampled_from([0.3, 5.0, 7.7, 10.0]), min_size=3, max_size=3),
    instances=st.lists(st.tuples(st.integers(0, 2), segments, st.integers(-1, 1)), max_size=8),
    detections=st.lists(found_ones, max_size=12),
    protocol=st.sampled_from(["charades", "multithumos"]),
)
def test_it_equals_plain_loops(
    durations: list[float],
    instances: list[tuple[int, tuple[float, float], int]],
    detections: list[tuple[int, tuple[float, float], int, float]],
    protocol: FrameProtocol,
) -> None:
    truth = GroundTruth(
        videos=("a", "b", "c"),
        labels=("Jump", "Run"),
        video=np.array([video for video, *_ in instances], np.int64),
        label=np.array([label for *_, label in instances], np.int64),
        segments=np.array([segment for _, segment, _ in instances], np.float64).reshape(-1, 2),
        durations=np.array(durations),
    )
    found = Results(
        video=np.array([video for video, *_ in detections], np.int64),
        label=np.array([label for *_, label, _ in detections], np.int64),
        segments=np.array([segment for _, segment, *_ in detections], np.float64).reshape(-1, 2),
        scores=np.array([score for *_, score in detections], np.float64),
        others=("elsewhere",),
    )
    ap, positives, points = frame_average_precision(truth, found, protocol=protocol, rate=2)
    for label in range(2):
        answers = []
        for video, duration in enumerate(durations):
            number = 25 if protocol == "charades" else max(round(duration * 2), 1)
            for k in range(number):
                time = k / number * duration if protocol == "charades" else k / (number / duration)

                def covers(segment: tuple[float, float], time: float = time) -> bool:
                    start, end = segment
                    return start <= time <= end if protocol == "charades" else start < time < end

                positive = any(v == video and said == label and covers(each) for v, each, said in instances)
                scores = [s for v, each, said, s in detections if v == video and said == label and covers(each)]
                answers.append((max(scores, default=-1.0), positive))
        assert len(answers) == points
        ranked = [positive for _, positive in sorted(answers, key=lambda pair: -pair[0])]
        precisions = [sum(ranked[: k + 1]) / (k + 1) for k, positive in enumerate(ranked) if positive]
        assert positives[label] == len(precisions)
        assert ap[label] == pytest.approx(sum(precisions) / len(precisions) if precisions else np.nan, nan_ok=True)
