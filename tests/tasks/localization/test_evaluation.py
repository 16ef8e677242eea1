"""The metrics against known answers, and against the protocols written as plain loops."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.tasks.localization.metrics.annotations import AMBIGUOUS, read_ground_truth, read_results
from kinema.tasks.localization.metrics.detection import THRESHOLDS, average_precision
from kinema.tasks.localization.metrics.proposals import area_under, average_recall
from kinema.tasks.localization.metrics.protocols import Protocol
from tests.tasks.localization.activitynet_files import Database, Found, measured, thumos14_test, written


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    both = min(a[1], b[1]) - max(a[0], b[0])
    return both / (a[1] - a[0] + b[1] - b[0] - both) if both > 0 else 0.0


def activitynet_by_loops(truth: Database, found: Found, label: str, threshold: float) -> float:
    """ActivityNet's protocol as its evaluation code defines it: VOC 2011's interpolated average precision.

    Its code sorts in ascending order and turns that around: of equal scores the last comes first.
    """
    instances = {v: [i for i in each if i[2] == label] for v, each in truth.items()}
    positives = sum(map(len, instances.values()))
    in_order = [(d[3], v, d) for v, each in found.items() for d in each if d[2] == label]
    ranked = sorted(in_order[::-1], key=lambda x: -x[0])  # noqa: C415 - equal scores are told apart
    taken: set[tuple[str, int]] = set()
    precision, recall, right = [], [], 0
    for rank, (_, video, detection) in enumerate(ranked, start=1):
        options = [
            (overlap(detection, instance), k)
            for k, instance in enumerate(instances.get(video, []))
            if (video, k) not in taken and overlap(detection, instance) >= threshold
        ]
        if options:
            taken.add((video, max(options)[1]))
            right += 1
        precision.append(right / rank)
        recall.append(right / positives)
    area, before = 0.0, 0.0
    for k, value in enumerate(recall):
        area += (value - before) * max(precision[k:])
        before = value
    return area


def thumos_by_loops(truth: Database, found: Found, label: str, threshold: float) -> float:
    """`TH14evalDet_Updated.m` in words of another language."""
    positives = sum(i[2] == label for each in truth.values() for i in each)
    counted: list[tuple[float, bool]] = []
    for video in sorted(truth.keys() | found.keys()):
        instances = [i for i in truth.get(video, []) if i[2] == label]
        unclear = [i for i in truth.get(video, []) if i[2] == AMBIGUOUS]
        detections = sorted((d for d in found.get(video, []) if d[2] == label), key=lambda d: -d[3])
        free = [True] * len(detections)
        for instance in instances:
            best, chosen = threshold, None
            for k, detection in enumerate(detections):
                if free[k] and overlap(instance, detection) > best:
                    best, chosen = overlap(instance, detection), k
            if chosen is not None:
                free[chosen] = False
        for k, detection in enumerate(detections):
            if not free[k] or not any(overlap(detection, other) > 0 for other in unclear):
                counted.append((detection[3], not free[k]))
    counted.sort(key=lambda pair: -pair[0])
    right, total = 0, 0.0
    for rank, (_, hit) in enumerate(counted, start=1):
        right += hit
        total += hit * right / rank
    return total / positives


def recall_by_loops(truth: Database, found: Found) -> list[float]:
    """AR@AN for AN = 1…100, budget by budget, threshold by threshold."""
    videos = [v for v, each in truth.items() if each]
    total = sum(map(len, found.values()))  # of all videos, also those without instances or not in the ground truth
    ratio = 100 * len(videos) / total
    kept = {}
    for v in videos:
        ranked = sorted(found.get(v, [])[::-1], key=lambda d: -d[3])  # noqa: C415 - equal scores are told apart
        kept[v] = ranked[: min(int(len(ranked) * ratio), len(ranked))]
    retrieved = sum(map(len, kept.values()))
    if not retrieved:
        return [0.0] * 100
    curve = []
    for budget in range(1, 101):
        share = budget / 100.0 * (100 * len(videos) / retrieved)
        recalls = []
        for threshold in np.linspace(0.5, 0.95, 10):
            hits = [
                any(overlap(d, i) >= threshold for d in kept[v][: min(int(len(kept[v]) * share), len(kept[v]))])
                for v in videos
                for i in truth[v]
            ]
            recalls.append(sum(hits) / len(hits))
        curve.append(sum(recalls) / 10)
    return curve


times = st.integers(0, 12).map(float)
segments = st.tuples(times, st.integers(1, 6).map(float)).map(lambda pair: (pair[0], pair[0] + pair[1]))
names = st.sampled_from(["v2", "v10", "v1", "other"])
scores = st.sampled_from([0.1, 0.2, 0.2, 0.5, 0.9])  # with ties
truths = st.dictionaries(
    st.sampled_from(["v1", "v2", "v10"]),
    st.lists(st.tuples(segments, st.sampled_from(["Jump", "Run", AMBIGUOUS])).map(lambda x: (*x[0], x[1])), max_size=5),
    min_size=1,
)
founds = st.dictionaries(
    names,
    st.lists(
        st.tuples(segments, st.sampled_from(["Jump", "Run"]), scores).map(lambda x: (*x[0], x[1], x[2])), max_size=8
    ),
)


@pytest.mark.parametrize("protocol", ["activitynet", "thumos14"])
@given(truth=truths, found=founds)
@settings(max_examples=150, deadline=None)
def test_average_precision_equals_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, protocol: Protocol, truth: Database, found: Found
) -> None:
    present = {i[2] for each in truth.values() for i in each} - {AMBIGUOUS}
    found = {v: [d for d in each if d[2] in present] for v, each in found.items()}
    thresholds = (0.3, 0.5, 0.75)
    labels, table = measured(tmp_path_factory.mktemp("case"), truth, found, protocol, thresholds)
    by_loops = activitynet_by_loops if protocol == "activitynet" else thumos_by_loops
    assert labels == tuple(sorted(present))
    expected = [[by_loops(truth, found, label, threshold) for threshold in thresholds] for label in labels]
    np.testing.assert_allclose(table, np.array(expected).reshape(table.shape), atol=1e-12)


@given(truth=truths, found=founds)
@settings(max_examples=30, deadline=None)
def test_average_recall_equals_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, truth: Database, found: Found
) -> None:
    truth = {video: [i for i in each if i[2] != AMBIGUOUS] for video, each in truth.items()}
    found = {video: each * copies for (video, each), copies in zip(found.items(), (1, 20, 60, 7), strict=False)}
    if not any(found.get(v) for v, each in truth.items() if each):
        return
    truth_file, results_file = written(tmp_path_factory.mktemp("case"), truth, found)
    ground_truth = read_ground_truth(truth_file)
    curve = average_recall(ground_truth, read_results(results_file, ground_truth, labelled=False))
    np.testing.assert_allclose(curve, recall_by_loops(truth, found), atol=1e-12)


def test_activitynets_known_answers(shared: Path) -> None:
    folder = shared / "data" / "evaluation_cases" / "activitynet_small"
    ground_truth = read_ground_truth(folder / "ground_truth.json")
    detections = read_results(folder / "results.json", ground_truth, labelled=True)
    table = average_precision(ground_truth, detections, protocol="activitynet", thresholds=THRESHOLDS["activitynet"])
    expected = [0.7142857, 0.7142857, 0.7142857, 0.6875, 0.6875, 0.5972222, 0.5208333, 0.5208333, 0.5208333, 0.5]
    np.testing.assert_allclose(table.mean(axis=0), expected, atol=1e-7)
    assert table.mean() == pytest.approx(0.6177579365079365)
    curve = average_recall(ground_truth, read_results(folder / "results.json", ground_truth, labelled=False))
    assert curve[-1] == pytest.approx(0.75)
    assert area_under(curve) == pytest.approx(0.72525)


THUMOS_IDS = (7, 9, 12, 21, 22, 23, 24, 26, 31, 33, 36, 40, 45, 51, 68, 79, 85, 92, 93, 97)


@pytest.mark.parametrize(("threshold", "published"), [(0.3, 0.5011), (0.5, 0.3096)])
def test_thumos14s_known_answers(shared: Path, tmp_path: Path, threshold: float, published: float) -> None:
    folder = shared / "data" / "thumos14"
    truth = thumos14_test(shared)
    labels = sorted({label for instances in truth.values() for *_, label in instances} - {AMBIGUOUS})
    of_id = dict(zip(THUMOS_IDS, labels, strict=True))
    found: Found = {}
    for line in (folder / f"CBR_THUMOS-14_IoU{threshold}.txt").read_text().splitlines():
        video, start, end, label, score = line.split()
        found.setdefault(video, []).append((float(start), float(end), of_id[int(label)], float(score)))
    _, table = measured(tmp_path, truth, found, "thumos14", (threshold,))
    assert table.mean() == pytest.approx(published, abs=5e-5)


SMALL: Database = {"a": [(0.0, 10.0, "Jump"), (30.0, 36.0, "Jump")], "b": [], "c": [(2.0, 8.0, "Jump")]}


def many(number: int, scores: int, first: int = 0) -> list[tuple[float, float, str, float]]:
    """Proposals all over a minute; `scores` different scores."""
    return [
        (k * 7 % 50, k * 7 % 50 + 3 + k % 9, "Jump", ((k + first) * 13 % scores + 1) / scores) for k in range(number)
    ]


FIRST = [*[2 / 87] * 5, 1 / 57, 1 / 162, 1 / 648, 0.0, 0.0]


@pytest.mark.parametrize(
    ("truth", "found", "recall", "precision"),
    [
        # A video without instances and one that is not in the ground truth have most of the proposals.
        (
            SMALL,
            {"a": many(150, 997), "b": many(200, 997, 150), "c": many(16, 997, 350), "d": many(90, 997, 366)},
            [0, 1 / 6, 11 / 30, 13 / 30, 0.3935],
            FIRST,
        ),
        # All scores are equal, and the best proposal is the last.
        (
            SMALL,
            {"c": [(0.0, 7.0, "Jump", 0.5), (2.0, 8.0, "Jump", 0.5)], "b": many(9, 1)},
            [*[1 / 3] * 4, 0.33],
            [1 / 30] * 10,
        ),
        (
            SMALL,
            {"c": [(2.0, 8.0, "Jump", 0.5), (0.0, 7.0, "Jump", 0.5)], "b": many(9, 1)},
            [*[1 / 3] * 4, 0.33],
            [*[1 / 30] * 3, *[1 / 33] * 7],
        ),
    ],
)
def test_the_answers_of_activitynets_own_code(
    tmp_path: Path, truth: Database, found: Found, recall: list[float], precision: list[float]
) -> None:
    """Numbers that the official eval_proposal.py and eval_detection.py gave on these inputs."""
    truth_file, results_file = written(tmp_path, truth, found)
    ground_truth = read_ground_truth(truth_file)
    curve = average_recall(ground_truth, read_results(results_file, ground_truth, labelled=False))
    assert [*curve[[0, 4, 9, 99]], area_under(curve)] == pytest.approx(recall, abs=1e-9)
    _, table = measured(tmp_path, truth, found, "activitynet", THRESHOLDS["activitynet"])
    assert table.mean(axis=0).tolist() == pytest.approx(precision, abs=1e-9)
