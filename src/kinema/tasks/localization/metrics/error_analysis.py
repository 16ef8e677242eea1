"""Error analysis of detections by DETAD.

Diagnosing Error in Temporal Action Detectors (Alwassel et al., ECCV 2018). Detections are matched by ActivityNet's
protocol. Precision is normalized (mAP_N): every class counts as if it had the average number of instances, so that sets
of instances of different sizes can be compared.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.detection import best_first, interpolated_area, taken_instances
from kinema.tasks.localization.metrics.protocols import Protocol
from kinema.tasks.localization.metrics.segments import Bools, Floats, Ints

KINDS = ("true positive", "double detection", "wrong label", "localization", "confusion", "background")
"""A detection by the instance of the video, of whatever label, that it overlaps most: by the threshold or more and the
label is right, but a better detection has it (double detection), or the label is wrong (wrong label); by at least 0.1
with the right label (localization) or a wrong one (confusion); by less (background)."""

GROUPS = 10
"""Groups of detections: of a class with G instances the G best ones, the next G, …"""

_LEAST_OVERLAP = 0.1
_LEAST_PRECISION = 0.05
"""Normalized precision above which an instance is found: a detection with many worse ones before it does not count."""

Characteristic = Literal["coverage", "length", "instances"]

CHARACTERISTICS: dict[Characteristic, str] = {
    "coverage": "share of the video",
    "length": "length in seconds",
    "instances": "instances of the class in the video",
}

_EDGES: dict[Protocol, dict[Characteristic, tuple[float, ...]]] = {
    "activitynet": {
        "coverage": (0, 0.2, 0.4, 0.6, 0.8, 1),
        "length": (0, 30, 60, 120, 180, np.inf),
        "instances": (0, 1, 4, 8, np.inf),
    },
    "thumos14": {
        "coverage": (0, 0.02, 0.04, 0.06, 0.08, 1),
        "length": (0, 3, 6, 12, 18, np.inf),
        "instances": (0, 1, 40, 80, np.inf),
    },
}
_BINS = ("XS", "S", "M", "L", "XL")


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Instances with a characteristic in (low, high].

    instances: their number. average_map: average mAP_N on them alone, nan without any; as in DETAD's code, a detection
    counts if at every threshold it takes one of them or none at all. missed: the share of false negatives, instances
    that no detection takes down to a normalized precision of 0.05.
    """

    characteristic: Characteristic
    name: str
    low: float
    high: float
    instances: int
    average_map: float
    missed: float


@dataclass(frozen=True, kw_only=True)
class ErrorAnalysis:
    """All figures are fractions and means over the thresholds.

    average_map: average mAP_N of the detections of the groups. profile: (GROUPS, kinds) share of each of `KINDS` in
    each group; nan in a group that no class fills. shares: (kinds,) in all groups. gains: (kinds,) by how much
    average_map grows when the detections of that kind are removed; 0 of true positives. bins: by characteristic.
    """

    average_map: float
    profile: Floats
    shares: Floats
    gains: Floats
    bins: tuple[Bin, ...]


def analyse_errors(
    ground_truth: GroundTruth, detections: Results, *, protocol: Protocol, thresholds: tuple[float, ...]
) -> ErrorAnalysis:
    """Sort the detections by what is wrong with them, and the instances by how well they are found.

    Args:
        ground_truth: ambiguous instances and those without length do not count.
        detections: what was found.
        protocol: whose limits of the characteristics are taken.
        thresholds: of tIoU, over which everything is averaged.
    """
    counted = (ground_truth.label >= 0) & (np.diff(ground_truth.segments)[:, 0] > 0)
    ground_truth = dataclasses.replace(
        ground_truth,
        video=ground_truth.video[counted],
        label=ground_truth.label[counted],
        segments=ground_truth.segments[counted],
    )
    limits = np.asarray(thresholds, np.float64)
    measure = _Measure(ground_truth, detections, limits)
    kinds = _kinds(ground_truth, detections, measure.taken, limits)
    in_groups = measure.group < GROUPS
    right = kinds == 0
    average_map = measure.average_map(right, np.broadcast_to(in_groups[:, None], right.shape))
    without = [measure.average_map(right, in_groups[:, None] & (kinds != kind)) for kind in range(1, len(KINDS))]
    return ErrorAnalysis(
        average_map=average_map,
        profile=np.stack([_shares(kinds[measure.group == group]) for group in range(GROUPS)]),
        shares=_shares(kinds[in_groups]),
        gains=np.array([0.0, *without]) - [0.0, *[average_map] * len(without)],
        bins=tuple(_bins(ground_truth, measure, _EDGES[protocol])),
    )


def as_json(analysis: ErrorAnalysis) -> dict[str, Any]:
    """The same for other programs; what is not known or has no end is null."""
    sensitivity: dict[str, list[dict[str, Any]]] = {}
    for each in analysis.bins:
        row = {"bin": each.name, "above": each.low, "to": _finite(each.high), "instances": each.instances}
        row |= {"average_mAP_N": _finite(each.average_map), "missed": _finite(each.missed)}
        sensitivity.setdefault(each.characteristic, []).append(row)
    names = [kind.replace(" ", "_") for kind in KINDS]
    by_kind = [dict(zip(names, map(_finite, values), strict=True)) for values in [analysis.shares, *analysis.profile]]
    gains = dict(zip(names[1:], analysis.gains[1:].tolist(), strict=True))
    return {
        "average_mAP_N": _finite(analysis.average_map),
        "shares": by_kind[0],
        "profile": by_kind[1:],
        "gains": gains,
        "sensitivity": sensitivity,
    }


def kinds_table(analysis: ErrorAnalysis) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what share the detections of each kind have, and what removing them wins."""
    rows = [
        [kind, *map(_text, (share, first, last)), f"{gain:+.4f}" if number else "–"]
        for number, (kind, share, first, last, gain) in enumerate(
            zip(KINDS, analysis.shares, analysis.profile[0], analysis.profile[-1], analysis.gains, strict=True)
        )
    ]
    return ["detections", f"1–{GROUPS}G", "1G", f"{GROUPS}G", "average mAP_N won without"], rows


def bins_table(analysis: ErrorAnalysis) -> tuple[list[str], list[list[str]]]:
    """Header and rows: how well instances of each kind are found."""
    rows = [
        [
            CHARACTERISTICS[each.characteristic],
            each.name,
            range_of(each),
            str(each.instances),
            _text(each.average_map),
            _text(each.missed),
        ]
        for each in analysis.bins
    ]
    return ["instances by", "", "range", "number", "average mAP_N", "missed"], rows


def _text(share: float) -> str:
    return f"{share:.4f}" if np.isfinite(share) else "–"


def range_of(each: Bin) -> str:
    """The limits of a bin as people read them: `30–60`, `20–40 %`, `2–4`, `≥ 9`."""
    if each.characteristic == "coverage":
        return f"{100 * each.low:g}–{100 * each.high:g} %"
    if each.characteristic == "length":
        return f"{each.low:g}–{each.high:g}" if np.isfinite(each.high) else f"> {each.low:g}"
    first = int(each.low) + 1
    if not np.isfinite(each.high):
        return f"≥ {first}"
    return f"{first}" if first == each.high else f"{first}–{each.high:g}"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


class _Measure:
    """The detections ranked and matched, to be measured in parts.

    taken: (n, limits) index of the instance that a detection takes, -1 for none. group: (n,) its place among the
    detections of its class, over the number of the class's instances.
    """

    def __init__(self, ground_truth: GroundTruth, detections: Results, limits: Floats) -> None:
        self.instances = np.bincount(ground_truth.label, minlength=len(ground_truth.labels))
        self._average = len(ground_truth.label) / max(int(np.count_nonzero(self.instances)), 1)
        self._labels = ground_truth.label
        self.taken = np.full((len(detections.scores), len(limits)), -1, np.int64)
        self.group = np.full(len(detections.scores), GROUPS, np.int64)
        order = best_first(detections.scores)
        order = order[np.argsort(detections.label[order], kind="stable")]
        bounds = np.searchsorted(detections.label[order], np.arange(len(self.instances) + 1))
        self._rows = [order[one:end] for one, end in pairwise(bounds)]
        for label in np.flatnonzero(self.instances):
            rows = self._rows[label]
            wanted = np.flatnonzero(ground_truth.label == label)
            self.taken[rows] = taken_instances(ground_truth, detections, wanted, rows, limits)
            self.group[rows] = np.arange(len(rows)) // self.instances[label]

    def found(self) -> Bools:
        """Which instances are found at each limit, (instances, limits): taken at more than the least precision."""
        found = np.zeros((len(self._labels) + 1, self.taken.shape[1]), np.bool_)
        for label in np.flatnonzero(self.instances):
            taken = self.taken[self._rows[label]]
            weighted = np.cumsum(taken >= 0, axis=0) * (self._average / self.instances[label])
            precise = weighted > _LEAST_PRECISION * (weighted + np.cumsum(taken < 0, axis=0))
            for limit, (rows, kept) in enumerate(zip(taken.T, precise.T, strict=True)):
                found[rows[kept], limit] = True
        return found[:-1]  # the last row is for detections without an instance

    def average_map(self, right: Bools, counted: Bools, instances: Bools | None = None) -> float:
        """Average mAP_N of the detections that count, both (n, limits), against all or some of the instances."""
        some = slice(None) if instances is None else instances
        positives = np.bincount(self._labels[some], minlength=len(self.instances))
        areas = [
            interpolated_area(right[rows, k][counted[rows, k]], positives[label], average=self._average)
            for label in np.flatnonzero(positives)
            for rows in [self._rows[label]]
            for k in range(right.shape[1])
        ]
        return float(np.mean(areas)) if areas else float("nan")


def _shares(kinds: Ints) -> Floats:
    if not kinds.size:
        return np.full(len(KINDS), np.nan)
    return np.bincount(kinds.reshape(-1), minlength=len(KINDS)) / kinds.size


def _bins(
    ground_truth: GroundTruth, measure: _Measure, edges: dict[Characteristic, tuple[float, ...]]
) -> Iterator[Bin]:
    found = measure.found()
    for characteristic, values in _characteristics(ground_truth).items():
        limits = edges[characteristic]
        place = np.where(np.isfinite(values), np.digitize(values, limits[1:-1], right=True), -1)
        for number, (low, high) in enumerate(pairwise(limits)):
            inside = place == number
            right = np.append(inside, False)[measure.taken]
            counted = (right | (measure.taken < 0)).all(axis=1, keepdims=True)
            yield Bin(
                characteristic=characteristic,
                name=_BINS[number],
                low=low,
                high=high,
                instances=int(inside.sum()),
                average_map=measure.average_map(right, np.broadcast_to(counted, right.shape), inside),
                missed=float(1 - found[inside].mean()) if inside.any() else float("nan"),
            )


def _characteristics(ground_truth: GroundTruth) -> dict[Characteristic, Floats]:
    """(instances,) each; the coverage is nan where the video's duration is not known."""
    length = np.diff(ground_truth.segments)[:, 0]
    of_class = np.stack([ground_truth.video, ground_truth.label])
    _, inverse, counts = np.unique(of_class, axis=1, return_inverse=True, return_counts=True)
    return {
        "coverage": length / ground_truth.durations[ground_truth.video],
        "length": length,
        "instances": counts[inverse.reshape(-1)].astype(np.float64),
    }


def _kinds(ground_truth: GroundTruth, detections: Results, taken: Ints, limits: Floats) -> Ints:
    """(n, limits) index into `KINDS`."""
    order = np.argsort(ground_truth.video, kind="stable")
    first, last = (np.searchsorted(ground_truth.video[order], detections.video, side=s) for s in ("left", "right"))
    instance, overlap = _most_overlapped(detections.segments, first, last, ground_truth.segments[order])
    label = np.append(ground_truth.label[order], -1)[instance]
    is_wrong = (label != detections.label).astype(np.int64)[:, None]
    near = overlap[:, None] >= limits
    kinds = np.where(near, 1 + is_wrong, np.where(overlap[:, None] >= _LEAST_OVERLAP, 3 + is_wrong, 5))
    return np.where(taken >= 0, 0, kinds)


@compiled
def _most_overlapped(segments: Floats, first: Ints, last: Ints, instances: Floats) -> tuple[Ints, Floats]:
    """The one of instances[first:last] that each segment overlaps most, -1 for none, and by how much."""
    chosen = np.full(len(segments), -1, np.int64)
    overlaps = np.zeros(len(segments), np.float64)
    for d in range(len(segments)):
        for g in range(first[d], last[d]):
            intersection = min(segments[d, 1], instances[g, 1]) - max(segments[d, 0], instances[g, 0])
            if intersection > 0:
                lengths = segments[d, 1] - segments[d, 0] + instances[g, 1] - instances[g, 0]
                overlap = intersection / (lengths - intersection)
                if overlap > overlaps[d]:
                    chosen[d], overlaps[d] = g, overlap
    return chosen, overlaps
