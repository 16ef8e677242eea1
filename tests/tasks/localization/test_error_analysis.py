"""The error analysis against plain loops over detections and instances, and its table and picture."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from kinema.errors import UserError
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.error_analysis import (
    GROUPS,
    KINDS,
    ErrorAnalysis,
    analyse_errors,
    as_json,
    bins_table,
    kinds_table,
)
from kinema.tasks.localization.metrics.error_plot import draw_errors
from tests.tasks.localization.drawn_case import drawn_case
from tests.tasks.localization.plain_loops import overlap

THRESHOLDS = (0.5, 0.7)
LABELS = ("Jump", "Run", "Swim")


def random_case(
    seed: int, *, videos: int = 6, instances: int = 14, detections: int = 60
) -> tuple[GroundTruth, Results]:
    """Detections that are noisy copies of instances, with some wrong labels, and some anywhere."""
    random = np.random.default_rng(seed)
    starts = random.random(instances) * 60
    segments = np.stack([starts, starts + random.random(instances) * 80 + 1], axis=1)
    truth = GroundTruth(
        videos=tuple(f"v{k}" for k in range(videos)),
        labels=LABELS,
        video=random.integers(0, videos, instances),
        label=random.integers(-1, len(LABELS), instances),
        segments=segments,
        durations=np.where(random.random(videos) < 0.2, np.nan, 150.0),
    )
    origin = random.integers(0, instances, detections)
    noise = np.sort(segments[origin] + random.normal(size=(detections, 2)) * 8, axis=1)
    copied = random.random(detections) < 0.8
    labels = np.where(random.random(detections) < 0.7, truth.label[origin], random.integers(0, 3, detections))
    return truth, Results(
        video=np.where(copied, truth.video[origin], random.integers(0, videos + 1, detections)),
        label=np.maximum(labels, 0),
        segments=noise + np.array([0, 0.1]),
        scores=random.permutation(detections) / detections,
        others=("elsewhere",),
    )


def ranked(found: Results, label: int) -> list[int]:
    return sorted(np.flatnonzero(found.label == label).tolist(), key=lambda d: -found.scores[d])


def matched(truth: GroundTruth, found: Results, label: int, threshold: float) -> dict[int, int]:
    """Detection → the instance it takes; the best detection chooses first."""
    taken: dict[int, int] = {}
    for d in ranked(found, label):
        options = [
            (overlap(tuple(found.segments[d]), tuple(truth.segments[g])), g)
            for g in np.flatnonzero((truth.video == found.video[d]) & (truth.label == label))
            if g not in taken.values()
        ]
        if options and max(options)[0] >= threshold:
            taken[d] = max(options)[1]
    return taken


def kind_of(truth: GroundTruth, found: Results, d: int, threshold: float, taken: dict[int, int]) -> str:
    if d in taken:
        return "true positive"
    instances = np.flatnonzero((truth.video == found.video[d]) & (truth.label >= 0))
    options = [(overlap(tuple(found.segments[d]), tuple(truth.segments[g])), g) for g in instances]
    if not options or max(options)[0] < 0.1:
        return "background"
    most, g = max(options)
    is_right = truth.label[g] == found.label[d]
    if most >= threshold:
        return "double detection" if is_right else "wrong label"
    return "localization" if is_right else "confusion"


def normalised_area(hits: list[bool], positives: int, average: float) -> float:
    """Area under the interpolated precision, where a class counts as if it had `average` instances."""
    precisions = []
    for rank in range(1, len(hits) + 1):
        recall = sum(hits[:rank]) / positives
        wrong = rank - sum(hits[:rank])
        precisions.append(recall * average / (recall * average + wrong))
    return sum(max(precisions[k:]) / positives for k, hit in enumerate(hits) if hit)


def average_map(
    truth: GroundTruth, found: Results, counts: Callable[[int, float, dict[int, int]], bool], wanted: set[int]
) -> float:
    """Average mAP_N of the detections for which `counts` holds, where `wanted` instances are to be found."""
    labelled = [label for label in truth.label.tolist() if label >= 0]
    average = len(labelled) / len(set(labelled))
    areas = []
    for label in range(len(LABELS)):
        positives = sum(truth.label[g] == label for g in wanted)
        if not positives:
            continue
        for threshold in THRESHOLDS:
            taken = matched(truth, found, label, threshold)
            kept = [d for d in ranked(found, label) if counts(d, threshold, taken)]
            areas.append(normalised_area([d in taken for d in kept], positives, average))
    return sum(areas) / len(areas)


def group_of(truth: GroundTruth, found: Results, d: int) -> int:
    label = found.label[d]
    instances = int((truth.label == label).sum())
    return ranked(found, label).index(d) // instances if instances else GROUPS


def characteristic(truth: GroundTruth, g: int, name: str) -> float:
    length = truth.segments[g, 1] - truth.segments[g, 0]
    if name == "coverage":
        return length / truth.durations[truth.video[g]]
    if name == "length":
        return length
    return int(((truth.video == truth.video[g]) & (truth.label == truth.label[g])).sum())


def analysed(truth: GroundTruth, found: Results) -> ErrorAnalysis:
    return analyse_errors(truth, found, protocol="activitynet", thresholds=THRESHOLDS)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_false_positives_equal_plain_loops(seed: int) -> None:
    truth, found = random_case(seed)
    analysis = analysed(truth, found)
    kinds: dict[int, list[str]] = {group: [] for group in range(GROUPS)}
    for d in range(len(found.scores)):
        for threshold in THRESHOLDS:
            taken = matched(truth, found, found.label[d], threshold)
            kinds.setdefault(group_of(truth, found, d), []).append(kind_of(truth, found, d, threshold, taken))
    for group in range(GROUPS):
        shares = [kinds[group].count(kind) / len(kinds[group]) if kinds[group] else np.nan for kind in KINDS]
        np.testing.assert_allclose(analysis.profile[group], shares)
    every = [kind for group in range(GROUPS) for kind in kinds[group]]
    np.testing.assert_allclose(analysis.shares, [every.count(kind) / len(every) for kind in KINDS])
    wanted = set(np.flatnonzero(truth.label >= 0).tolist())
    base = average_map(truth, found, lambda d, *_: group_of(truth, found, d) < GROUPS, wanted)
    assert analysis.average_map == pytest.approx(base)
    for kind, gain in zip(KINDS[1:], analysis.gains[1:], strict=True):

        def counts(d: int, threshold: float, taken: dict[int, int], kind: str = kind) -> bool:
            return group_of(truth, found, d) < GROUPS and kind_of(truth, found, d, threshold, taken) != kind

        assert gain == pytest.approx(average_map(truth, found, counts, wanted) - base, abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_sensitivity_equals_plain_loops(seed: int) -> None:
    truth, found = random_case(seed)
    edges = {
        "coverage": [0, 0.2, 0.4, 0.6, 0.8, 1],
        "length": [0, 30, 60, 120, 180, math.inf],
        "instances": [0, 1, 4, 8, math.inf],
    }
    bins = iter(analysed(truth, found).bins)
    for name, limits in edges.items():
        for low, high in pairwise(limits):
            each = next(bins)
            wanted = {
                g for g in np.flatnonzero(truth.label >= 0).tolist() if low < characteristic(truth, g, name) <= high
            }
            assert (each.characteristic, each.low, each.high, each.instances) == (name, low, high, len(wanted))
            if not wanted:
                assert math.isnan(each.average_map)
                assert math.isnan(each.missed)
                continue

            def counts(d: int, *_: object, wanted: set[int] = wanted) -> bool:
                every = [matched(truth, found, found.label[d], threshold) for threshold in THRESHOLDS]
                return all(taken.get(d, min(wanted)) in wanted for taken in every)

            assert each.average_map == pytest.approx(average_map(truth, found, counts, wanted))
            hits = [is_found(truth, found, g, threshold) for g in wanted for threshold in THRESHOLDS]
            assert each.missed == pytest.approx(1 - sum(hits) / len(hits))
    assert next(bins, None) is None


def is_found(truth: GroundTruth, found: Results, g: int, threshold: float) -> bool:
    """Whether a detection takes the instance while the normalized precision is above 0.05."""
    label = truth.label[g]
    labelled = [each for each in truth.label.tolist() if each >= 0]
    average = len(labelled) / len(set(labelled))
    taken = matched(truth, found, label, threshold)
    right = wrong = 0
    for d in ranked(found, label):
        right += d in taken
        wrong += d not in taken
        if taken.get(d) == g:
            recall = right / labelled.count(label)
            return recall * average / (recall * average + wrong) > 0.05
    return False


def test_the_answers_of_detads_own_code() -> None:
    """Numbers that its three analyses gave on these inputs, with ActivityNet's bins."""
    analysis = analyse_errors(*drawn_case(), protocol="activitynet", thresholds=(0.5, 0.75, 0.95))
    assert analysis.average_map == pytest.approx(0.39603570261614607)
    assert analysis.shares.tolist() == pytest.approx([7 / 120, 7 / 300, 0.035, 79 / 600, 0.24, 307 / 600])
    gains = [0, 0.004832575908682, 0.048371229315302, 0.033549653283081, 0.020954418251374, 0.007462404309961]
    assert analysis.gains.tolist() == pytest.approx(gains, abs=1e-12)
    assert analysis.profile[1].tolist() == pytest.approx([0.1, 0.122222222, 0.055555556, 0.205555556, 7 / 30, 17 / 60])
    assert analysis.profile[9].tolist() == pytest.approx([0, 1 / 180, 1 / 60, 17 / 180, 4 / 15, 37 / 60])
    bins = {(each.characteristic, each.name): each for each in analysis.bins if each.instances}
    assert {key: each.average_map for key, each in bins.items()} == pytest.approx(
        {
            ("coverage", "XS"): 0.398280366036863,
            ("length", "XS"): 0.422483557814833,
            ("length", "S"): 0.445922770532985,
            ("instances", "XS"): 0.233153504550834,
            ("instances", "S"): 0.422302095796064,
        }
    )
    assert {key: each.missed for key, each in bins.items()} == pytest.approx(
        {
            ("coverage", "XS"): 0.427777777777778,
            ("length", "XS"): 0.43859649122807,
            ("length", "S"): 0.409090909090909,
            ("instances", "XS"): 0.444444444444444,
            ("instances", "S"): 0.425925925925926,
        }
    )


def test_the_answers_of_detads_own_code_with_thumos14s_bins() -> None:
    analysis = analyse_errors(*drawn_case(), protocol="thumos14", thresholds=(0.5,))
    assert analysis.average_map == pytest.approx(0.812623625549443)
    assert analysis.shares.tolist() == pytest.approx([0.1, 0.06, 0.07, 19 / 300, 0.195, 307 / 600])
    lengths = [each.average_map for each in analysis.bins if each.characteristic == "length"]
    assert lengths == pytest.approx([0.869775541796, 0.794642857143, 0.795256994632, 0.788647915306, 0.818483185049])
    coverage = [each.average_map for each in analysis.bins if each.characteristic == "coverage"]
    assert coverage == pytest.approx([0.839831656347, 0.865546218487, 0.775448136572, 0.85179631063, 0.811636583967])


def test_each_kind_of_error() -> None:
    truth = GroundTruth(
        videos=("v",),
        labels=("Jump", "Run"),
        video=np.array([0, 0]),
        label=np.array([0, 1]),
        segments=np.array([[0.0, 10.0], [20.0, 30.0]]),
        durations=np.array([100.0]),
    )
    segments = [[0, 10], [0, 9], [20, 30], [5, 14], [25, 34], [50, 60]]
    found = Results(
        video=np.zeros(6, np.int64),
        label=np.zeros(6, np.int64),
        segments=np.array(segments, np.float64),
        scores=np.arange(6, 0, -1) / 10,
    )
    analysis = analyse_errors(truth, found, protocol="thumos14", thresholds=(0.5,))
    # Jump has one instance, so that each group has one detection: 1G the first of the list above, and so on.
    assert analysis.profile[:6].tolist() == np.eye(6).tolist()
    assert analysis.average_map == pytest.approx(0.5)  # Jump is found at once, Run never


def test_nothing_found_and_nothing_known() -> None:
    truth, found = random_case(0)
    none = Results(video=np.zeros(0, int), label=np.zeros(0, int), segments=np.zeros((0, 2)), scores=np.zeros(0))
    analysis = analysed(truth, none)
    assert analysis.average_map == 0
    assert np.isnan(analysis.shares).all()
    assert all(each.missed == 1 for each in analysis.bins if each.instances)
    for table in (kinds_table(analysis), bins_table(analysis)):
        assert all(len(row) == len(table[0]) for row in table[1])
    assert as_json(analysis)["shares"]["background"] is None
    assert found.scores.size


def test_json_and_tables_tell_the_figures() -> None:
    analysis = analysed(*random_case(3))
    told: dict[str, Any] = as_json(analysis)
    assert told["average_mAP_N"] == analysis.average_map
    assert told["gains"]["wrong_label"] == analysis.gains[2]
    assert [row["to"] for row in told["sensitivity"]["length"]] == [30, 60, 120, 180, None]
    header, rows = kinds_table(analysis)
    assert [row[0] for row in rows] == list(KINDS)
    assert rows[3][1] == f"{analysis.shares[3]:.4f}"
    assert len(header) == len(rows[0])
    _, rows = bins_table(analysis)
    assert [row[2] for row in rows] == [
        *("0–20 %", "20–40 %", "40–60 %", "60–80 %", "80–100 %"),
        *("0–30", "30–60", "60–120", "120–180", "> 180"),
        *("1", "2–4", "5–8", "≥ 9"),
    ]


def test_the_picture_shows_it(tmp_path: Path) -> None:
    draw_errors(analysed(*random_case(3)), tmp_path / "errors.png")
    picture = imread(tmp_path / "errors.png")
    assert picture.shape[1] > picture.shape[0] > 600
    green = np.abs(picture[..., :3] - np.array([0, 0x9E, 0x73]) / 255).max(axis=-1) < 0.01
    assert green.any()  # the colour of true positives


def test_a_picture_without_a_folder_is_a_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        draw_errors(analysed(*random_case(3)), tmp_path / "file" / "errors.png")
