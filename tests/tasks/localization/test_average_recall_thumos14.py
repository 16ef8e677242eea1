"""Average recall by THUMOS14's protocol: against its program's answers, and against the protocol as plain loops."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.tasks.localization.metrics.annotations import GroundTruth, Results, read_ground_truth, read_results
from kinema.tasks.localization.metrics.proposals import average_recall_thumos14
from tests.tasks.localization.activitynet_files import Database, Found, thumos14_test, written


def recall_by_loops(truth: Database, found: Found, average: float) -> float:
    """Budget by budget, threshold by threshold, with frames counted one by one."""

    def frames(start: float, end: float) -> set[int]:
        return set(range(int(start * 30), int(end * 30) + 1))

    videos = sorted(truth.keys() | found.keys())
    total = sum(len(found.get(video, [])) for video in videos)
    points = [(0.0, 0.0)]
    for percent in range(1, 101):
        share = percent / 100.0
        recalls = []
        for threshold in np.linspace(0.5, 1.0, 11):
            hits = []
            for video in videos:
                ranked = sorted(found.get(video, [])[::-1], key=lambda d: -d[3])  # noqa: C415 - equal scores
                kept = [frames(*d[:2]) for d in ranked[: int(len(ranked) * share)]]
                for instance in truth.get(video, []):
                    wanted = frames(*instance[:2])
                    hits.append(any(len(wanted & each) / len(wanted | each) >= threshold for each in kept))
            recalls.append(sum(hits) / len(hits))
        points.append((share * total / len(videos), sum(recalls) / len(recalls)))
    for (low, before), (high, after) in pairwise(points):
        if average <= high:
            return before + (after - before) * (average - low) / (high - low)
    return points[-1][1]


times = st.integers(0, 20).map(lambda k: k / 4)
segments = st.tuples(times, st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1] / 4))
instances = st.lists(segments.map(lambda segment: (*segment, "Jump")), min_size=1, max_size=3)
proposals = st.lists(
    st.tuples(segments, st.sampled_from([0.1, 0.2, 0.2, 0.9])).map(lambda pair: (*pair[0], "Jump", pair[1])),
    min_size=1,
    max_size=8,
)


@given(
    truth=st.dictionaries(st.sampled_from(["a", "b"]), instances, min_size=1),
    found=st.dictionaries(st.sampled_from(["a", "b", "elsewhere"]), proposals, min_size=1),
    average=st.sampled_from([0.01, 1, 2.5, 7]),
)
@settings(max_examples=15)
def test_it_equals_plain_loops(truth: Database, found: Found, average: float) -> None:
    measured = average_recall_thumos14(*as_arrays(truth, found), averages=(average,))
    assert measured == pytest.approx([recall_by_loops(truth, found, average)], abs=1e-12)


def as_arrays(truth: Database, found: Found) -> tuple[GroundTruth, Results]:
    videos, others = tuple(truth), tuple(found.keys() - truth.keys())
    number = {name: k for k, name in enumerate((*videos, *others))}
    wanted = [(number[video], *each[:2]) for video, list_ in truth.items() for each in list_]
    given_ = [(number[video], *each[:2], each[3]) for video, list_ in found.items() for each in list_]
    instances, proposals = np.array(wanted), np.array(given_)
    return GroundTruth(
        videos=videos,
        labels=("Jump",),
        video=instances[:, 0].astype(int),
        label=np.zeros(len(instances), int),
        segments=instances[:, 1:],
        durations=np.full(len(videos), np.nan),
    ), Results(
        video=proposals[:, 0].astype(int),
        label=np.full(len(proposals), -1),
        segments=proposals[:, 1:3],
        scores=proposals[:, 3],
        others=others,
    )


def many(number: int, first: int = 0, scale: float = 1) -> list[tuple[float, float, str, float]]:
    """Proposals all over a minute, of different scores."""
    return [
        (k * 7 % 50 * scale, (k * 7 % 50 + 3 + k % 9) * scale, "Jump", ((k + first) * 13 % 997 + 1) / 997)
        for k in range(number)
    ]


def test_the_answers_of_the_official_program() -> None:
    """Numbers that average_recall_vs_nr_proposals of DAPs' and TURN's prop_eval.py gave on these inputs."""
    truth: Database = {
        "a": [(0.0, 10.0, "Jump"), (30.0, 36.0, "Jump")],
        "b": [(11.3, 12.4, "Jump")],
        "c": [(2.0, 8.0, "Jump")],
    }
    found: Found = {"a": many(400), "b": many(130, 150, 0.7), "c": many(160, 350), "d": many(30, 366)}
    curve = average_recall_thumos14(*as_arrays(truth, found), averages=(1.8, 3.6, 9, 50, 100, 200, 1000))
    official = [2 / 44, 7 / 44, 12 / 44, 23 / 44, 25 / 44, 30 / 44, 30 / 44]
    assert curve.tolist() == pytest.approx(official, abs=1e-9)


@pytest.mark.parametrize(
    ("results", "official"),
    [("0.3", [0.140729389, 0.214256488, 0.263812554]), ("0.5", [0.138016163, 0.219523599, 0.290035232])],
)
def test_the_official_programs_answers_on_cbrs_detections(
    shared: Path, tmp_path: Path, results: str, official: list[float]
) -> None:
    """Its sort made stable, as the files have equal scores."""
    truth_file, _ = written(tmp_path, thumos14_test(shared), {})
    truth = read_ground_truth(truth_file)
    found = read_results(shared / "data" / "thumos14" / f"CBR_THUMOS-14_IoU{results}.txt", truth, labelled=False)
    assert average_recall_thumos14(truth, found, averages=(10, 20, 50)).tolist() == pytest.approx(official, abs=1e-8)
