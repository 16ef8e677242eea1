"""The procedures as plain loops, one candidate after the other: what the fast ones must equal."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Segment = tuple[float, float]


def overlap(one: Segment, other: Segment) -> float:
    """tIoU; rounded as the references round, which matters where it lies on a threshold."""
    both = max(min(one[1], other[1]) - max(one[0], other[0]), 0.0)
    return both / (one[1] - one[0] - both + other[1] - other[0])


def possible(probability: Floats, threshold: float) -> list[int]:
    """Places between the first and the last that are peaks or high."""
    largest = max(probability)
    found = []
    for k in range(1, len(probability) - 1):
        is_peak = probability[k] > probability[k - 1] and probability[k] > probability[k + 1]
        if is_peak or probability[k] > threshold * largest:
            found.append(k)
    return found


def candidates(start: Floats, end: Floats, threshold: float) -> list[tuple[float, float, float, float]]:
    """BSN's pairs: start time, end time and the probability of each, the best pair first."""
    parts = len(start)
    starts = sorted({0, *possible(start, threshold), parts - 1})
    ends = sorted({0, *possible(end, threshold), parts - 1})
    pairs = []
    for last in ends:
        for first in starts:
            if first < last:
                times = (first + 0.5) / parts, (last + 0.5) / parts
                pairs.append((*times, float(start[first]), float(end[last])))
    pairs.sort(key=lambda pair: -pair[2] * pair[3])
    return pairs


def covered(segment: Segment, instances: list[Segment]) -> tuple[float, float]:
    """The largest tIoU with an instance, and the largest share of the segment inside one."""
    best_overlap = best_share = 0.0
    for instance in instances:
        both = max(min(segment[1], instance[1]) - max(segment[0], instance[0]), 0.0)
        best_overlap = max(best_overlap, overlap(segment, instance))
        best_share = max(best_share, both / (segment[1] - segment[0]))
    return best_overlap, best_share


def features(actionness: Floats, segments: list[Segment]) -> list[list[float]]:
    """BSP features: 16 samples inside, 8 around the start, 8 around the end, each the mean of four points."""
    parts = len(actionness)
    outside = parts // 4 + 10
    times = [(k + 0.5) / parts for k in range(-outside, parts + outside)]
    values = np.concatenate([np.zeros(outside), actionness, np.zeros(outside)])
    rows = []
    for start, end in segments:
        reach = 0.2 * (end - start)
        row = []
        for low, high, samples in (
            (start, end, 16),
            (start - reach, start + reach, 8),
            (end - reach, end + reach, 8),
        ):
            distance = (high - low) / (samples - 1)
            points = [low - distance / 2 + distance / 3 * k for k in range(samples * 3 + 1)]
            heights = np.interp(points, times, values)
            row += [float(np.mean(heights[3 * k : 3 * k + 4])) for k in range(samples)]
        rows.append(row)
    return rows


def soft_nms(
    segments: Floats, scores: Floats, *, alpha: float, low: float, high: float, most: int
) -> list[tuple[int, float]]:
    """Index and decayed score of the chosen, best first; every score is brought up to date in every round."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    left = [(k, float(segments[k][0]), float(segments[k][1]), float(scores[k])) for k in order]
    chosen: list[tuple[int, float]] = []
    while left and len(chosen) < most:
        place = int(np.argmax([entry[3] for entry in left]))
        index, start, end, score = left.pop(place)
        chosen.append((index, score))
        threshold = low + (high - low) * (end - start)
        for k, (other, other_start, other_end, other_score) in enumerate(left):
            share = overlap((start, end), (other_start, other_end))
            if share > threshold:
                left[k] = (other, other_start, other_end, other_score * math.exp(-(share**2) / alpha))
    return chosen


def bmn_candidates(confidence: Floats, start: Floats, end: Floats) -> list[tuple[float, float, float]]:
    """BMN's pairs: start time, end time and score, by length and then by start."""
    parts = len(start)
    starts, ends = {0, *possible(start, 0.5)}, {*possible(end, 0.5), parts - 1}
    pairs = []
    for length in range(1, confidence.shape[1] + 1):
        for first in range(parts):
            last = first + length
            if last < parts and first in starts and last in ends:
                score = start[first] * end[last] * confidence[1, length - 1, first] * confidence[0, length - 1, first]
                pairs.append((first / parts, last / parts, float(score)))
    return pairs
