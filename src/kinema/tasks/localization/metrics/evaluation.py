"""Proposals and detections of any tool measured against ground truth: from files to figures."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import UserError
from kinema.tasks.localization.metrics.annotations import (
    GroundTruth,
    Results,
    read_ground_truth,
    read_results,
    subsets_of,
)
from kinema.tasks.localization.metrics.class_scores import label_results, read_video_classes
from kinema.tasks.localization.metrics.detection import THRESHOLDS, average_precision
from kinema.tasks.localization.metrics.error_analysis import ErrorAnalysis, analyse_errors
from kinema.tasks.localization.metrics.frames import frame_average_precision
from kinema.tasks.localization.metrics.proposals import area_under, average_recall, average_recall_thumos14
from kinema.tasks.localization.metrics.protocols import FrameProtocol, Protocol
from kinema.tasks.localization.metrics.segments import Floats

log = logging.getLogger(__name__)

REPORTED_SUBSET: dict[Protocol | FrameProtocol, str] = {
    "activitynet": "validation",
    "thumos14": "test",
    "charades": "test",
    "multithumos": "test",
}
"""Where papers measure."""

_REPORTED_BUDGETS = (1, 5, 10, 100)
_REPORTED_BUDGETS_THUMOS14 = (50, 100, 200, 500, 1000)


Table = list[list[Any]]
"""Rows of a table, the first one its header."""


@dataclass(frozen=True, kw_only=True)
class FrameReport:
    """metrics: `{"mAP", "weighted_mAP", "points", "left_out"}`, fractions and counts. per_class: `class, points, AP`.

    The mean is over the classes that happen at a point at least; weighted, by the number of these points.
    """

    metrics: dict[str, Any]
    per_class: Table


@dataclass(frozen=True, kw_only=True)
class DetectionReport:
    """metrics: `{"mAP": {"0.5": …}, "average_mAP": …, "left_out": …}`, fractions and a count. per_class: see
    `per_class_table`. errors: if asked for.

    left_out is the number of results that no class's AP takes into account: those of labels that the ground truth does
    not have, and those of videos that `video_classes` says nothing of.
    """

    metrics: dict[str, Any]
    per_class: Table
    errors: ErrorAnalysis | None = None


def evaluate_detection(
    ground_truth: Path,
    results: Path,
    *,
    protocol: Protocol,
    subset: str = "",
    thresholds: tuple[float, ...] = (),
    video_classes: Path | None = None,
    top_classes: int = 1,
    strict: bool = False,
    errors: bool = False,
) -> DetectionReport:
    """Measure the mean average precision of detections.

    Args:
        ground_truth, results: files as `read_ground_truth` and `read_results` read them.
        protocol: how detections are matched and precision is averaged.
        subset: which videos count. When empty, all; of a file with several subsets, the protocol's `REPORTED_SUBSET`.
        thresholds: of tIoU; the protocol's when empty.
        video_classes: class scores of the videos: `results` are then proposals, which get their labels from these.
        top_classes: how many classes a video has, for `video_classes`.
        strict: refuse results that would be left out.
        errors: analyse them too.

    Raises:
        UserError: a file or a number is faulty, or the ground truth has no instance, or what `strict` refuses.
    """
    if wrong := [threshold for threshold in thresholds if not 0 < threshold <= 1]:
        raise UserError(f"a threshold of tIoU is above 0 and at most 1, not {wrong[0]:g}")
    if top_classes < 1:
        raise UserError(f"a video has at least 1 class, not {top_classes}")
    truth = _ground_truth(ground_truth, subset, REPORTED_SUBSET[protocol])
    if not truth.labels:
        raise UserError(f"{ground_truth}: no video of these has an instance with a label")
    found = read_results(results, truth, labelled=video_classes is None, strict=strict)
    if video_classes is not None:
        found = label_results(found, read_video_classes(video_classes), truth, top=top_classes, strict=strict)
    thresholds = thresholds or THRESHOLDS[protocol]
    table = average_precision(truth, found, protocol=protocol, thresholds=thresholds)
    by_threshold = dict(zip((f"{threshold:g}" for threshold in thresholds), table.mean(axis=0).tolist(), strict=True))
    return DetectionReport(
        metrics={"mAP": by_threshold, "average_mAP": float(table.mean()), "left_out": found.left_out},
        per_class=per_class_table(truth, table, thresholds),
        errors=analyse_errors(truth, found, protocol=protocol, thresholds=thresholds) if errors else None,
    )


def per_class_table(truth: GroundTruth, table: Floats, thresholds: Sequence[float]) -> Table:
    """Return the AP of each class at the thresholds, and their mean: `class, instances, AP@0.5, …, mean`.

    Args:
        truth: whose instances are counted.
        table: (labels, thresholds) AP.
        thresholds: of tIoU.
    """
    instances = np.bincount(truth.label[truth.label >= 0], minlength=len(truth.labels)).tolist()
    header: list[Any] = ["class", "instances", *(f"AP@{threshold:g}" for threshold in thresholds), "mean"]
    rows = zip(truth.labels, instances, table.tolist(), table.mean(axis=1).tolist(), strict=True)
    return [header, *([label, count, *values, mean] for label, count, values, mean in rows)]


def evaluate_frames(
    ground_truth: Path,
    results: Path,
    *,
    protocol: FrameProtocol,
    rate: float,
    subset: str = "",
    strict: bool = False,
) -> FrameReport:
    """Measure the mean average precision of detections at points in time, see `frame_average_precision`.

    Args:
        ground_truth, results: files as `read_ground_truth` and `read_results` read them.
        protocol: which points there are, and whether a segment's ends belong to it.
        rate: points per second, for multithumos.
        subset: which videos count. When empty, all; of a file with several subsets, test.
        strict: refuse results that would be left out.

    Raises:
        UserError: a file is faulty, a video has no duration, or no class happens at any point.
    """
    truth = _ground_truth(ground_truth, subset, REPORTED_SUBSET[protocol])
    if unknown := [name for name, seconds in zip(truth.videos, truth.durations, strict=True) if not seconds > 0]:
        raise UserError(f"{ground_truth}: video {unknown[0]} has no duration in seconds, on which its points depend")
    found = read_results(results, truth, labelled=True, strict=strict)
    ap, positives, points = frame_average_precision(truth, found, protocol=protocol, rate=rate)
    happens = positives > 0
    if not happens.any():
        raise UserError(f"{ground_truth}: no instance with a label covers a point of its video")
    if absent := [name for name, here in zip(truth.labels, happens, strict=True) if not here]:
        log.warning(
            "%d of %d classes, such as '%s', happen at no point, and are left out of the mean",
            len(absent), len(happens), absent[0],
        )  # fmt: skip
    rows = zip(truth.labels, positives.tolist(), [value if value >= 0 else "" for value in ap.tolist()], strict=True)
    return FrameReport(
        metrics={
            "mAP": float(ap[happens].mean()),
            "weighted_mAP": float(np.average(ap[happens], weights=positives[happens])),
            "points": points,
            "left_out": found.left_out,
        },
        per_class=[["class", "points", "AP"], *map(list, rows)],
    )


def evaluate_proposals(
    ground_truth: Path, results: Path, *, protocol: Protocol = "activitynet", subset: str = ""
) -> dict[str, float]:
    """Measure average recall: `{"AR@1", "AR@5", "AR@10", "AR@100", "AUC"}`, fractions; of thumos14 `{"AR@50", …}`.

    Args:
        ground_truth, results: files as `read_ground_truth` and `read_results` read them; no instance needs a label.
        protocol: activitynet (`average_recall`) or thumos14 (`average_recall_thumos14`, at an average of 50, 100, 200,
            500 and 1000 proposals).
        subset: which videos count. When empty, all; of a file with several subsets, the protocol's `REPORTED_SUBSET`.

    Raises:
        UserError: a file is faulty, or the ground truth has no instance.
    """
    truth = _ground_truth(ground_truth, subset, REPORTED_SUBSET[protocol], labelled=False)
    if not truth.labels:
        raise UserError(f"{ground_truth}: no video of these has an instance")
    proposals = read_results(results, truth, labelled=False)
    if protocol == "activitynet":
        return proposal_metrics(truth, proposals)
    recall = average_recall_thumos14(truth, proposals, averages=_REPORTED_BUDGETS_THUMOS14)
    return {f"AR@{budget}": value for budget, value in zip(_REPORTED_BUDGETS_THUMOS14, recall.tolist(), strict=True)}


def proposal_metrics(truth: GroundTruth, proposals: Results) -> dict[str, float]:
    """Return `{"AR@1", "AR@5", "AR@10", "AR@100", "AUC"}` by ActivityNet's protocol, fractions."""
    recall = average_recall(truth, proposals)
    return {f"AR@{budget}": float(recall[budget - 1]) for budget in _REPORTED_BUDGETS} | {"AUC": area_under(recall)}


def _ground_truth(path: Path, subset: str, reported: str, *, labelled: bool = True) -> GroundTruth:
    if not subset and len(subsets := subsets_of(path)) > 1:
        if reported not in subsets:
            raise UserError(f"{path} has several subsets, of which --subset must choose one: {', '.join(subsets)}")
        subset = reported
        log.info("measured on the videos of the subset %s of %s", subset, path)
    return read_ground_truth(path, subset=subset, labelled=labelled)
