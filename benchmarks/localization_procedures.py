"""Milliseconds per video of what surrounds the networks of BSN and BMN, beside loops as the references have them.

python -m benchmarks.localization_procedures [--ground-truth activity_net.v1-3.min.json] [--videos 4728]

Scores are drawn so that a video's instances stand out of noise; without --ground-truth instances are drawn too. The
second table is the whole way of a validation set from scores to AR@AN and mAP, on one core.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.tasks.localization import plain_loops

from kinema.console import print_table
from kinema.data.features.spans import whole_video
from kinema.tasks.localization.bmn import bmn_proposals
from kinema.tasks.localization.bsn.options import GenerationOptions, ProposalFeatureOptions
from kinema.tasks.localization.bsn.pgm import bsn_proposals, describe, generate, match
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results, read_ground_truth
from kinema.tasks.localization.metrics.class_scores import VideoClasses, label_results
from kinema.tasks.localization.metrics.detection import THRESHOLDS, average_precision
from kinema.tasks.localization.metrics.error_analysis import analyse_errors
from kinema.tasks.localization.metrics.proposals import area_under, average_recall
from kinema.tasks.localization.metrics.results import Proposals, in_seconds
from kinema.tasks.localization.metrics.segments import tiou
from kinema.tasks.localization.soft_nms import SoftNmsOptions, soft_nms

PARTS = 100
BSN_NMS = SoftNmsOptions(alpha=0.75, low_threshold=0.65, high_threshold=0.9)
BMN_NMS = SoftNmsOptions()

Floats = NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """What networks could say about a video; instances (m, 2) are fractions of it."""

    instances: Floats
    action: Floats
    start: Floats
    end: Floats
    confidence: Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ground-truth", type=Path, help="ActivityNet's JSON file; its validation videos are taken")
    parser.add_argument("--videos", type=int, default=4728)
    parser.add_argument("--plain-videos", type=int, default=40, help="videos that the plain loops work on")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    truth = _first(_truth(arguments.ground_truth, arguments.videos, random), arguments.videos)
    few = [_scores(truth, video, random) for video in range(min(arguments.plain_videos, len(truth.videos)))]
    compare_per_video(few)
    found, seconds = from_scores_to_proposals(truth, random)
    compare_evaluation(_first(truth, 10 * len(few)), found)
    whole_way(truth, found, seconds, random)


def compare_per_video(videos: Sequence[Scores]) -> None:
    candidates = [generate(each.start, each.end, GenerationOptions()) for each in videos]
    segments = [each.segments for each in candidates]
    number = np.mean([len(each) for each in segments])
    every = np.stack(np.triu_indices(PARTS, k=1), axis=1) / PARTS
    drawn = np.random.default_rng(0).random(len(every))
    rows = [
        _row(
            "PGM proposals, matched",
            lambda: [match(generate(v.start, v.end, GenerationOptions()).segments, v.instances) for v in videos],
            lambda: [reference_proposals(v) for v in videos],
            len(videos),
        ),
        _row(
            f"BSP features of {number:.0f} candidates",
            lambda: [describe(v.action, s, ProposalFeatureOptions()) for v, s in zip(videos, segments, strict=True)],
            lambda: [plain_loops.features(v.action, s.tolist()) for v, s in zip(videos[:5], segments[:5], strict=True)],
            len(videos),
            plain_videos=5,
        ),
        _row(
            f"Soft-NMS on {number:.0f} candidates",
            lambda: [soft_nms(each.segments, each.scores, BSN_NMS) for each in candidates],
            lambda: [reference_soft_nms(each.segments, each.scores, BSN_NMS) for each in candidates],
            len(videos),
        ),
        _row(
            f"Soft-NMS on {len(every):,} candidates",
            lambda: soft_nms(every, drawn, BMN_NMS),
            lambda: reference_soft_nms(every, drawn, BMN_NMS),
            1,
        ),
    ]
    print_table(["ms per video", "Kinema", "loops", "ratio"], rows)
    print()


def compare_evaluation(truth: GroundTruth, found: Results) -> None:
    found = _of_videos(found, len(truth.videos))
    labelled = replace(found, label=_labels_of(truth, found))
    limits = THRESHOLDS["activitynet"]
    recall = average_recall(truth, found)
    table = average_precision(truth, labelled, protocol="activitynet", thresholds=limits)
    assert np.allclose(recall, reference_recall(truth, found))
    assert np.allclose(table, reference_precision(truth, labelled, limits))
    number = len(truth.videos)
    rows = [
        _row("AR@AN", lambda: average_recall(truth, found), lambda: reference_recall(truth, found), number),
        _row(
            "mAP@tIoU",
            lambda: average_precision(truth, labelled, protocol="activitynet", thresholds=limits),
            lambda: reference_precision(truth, labelled, limits),
            number,
        ),
    ]
    print_table([f"ms per video, {number} videos", "Kinema", "loops", "ratio"], rows)
    print()


def from_scores_to_proposals(truth: GroundTruth, random: np.random.Generator) -> tuple[Results, dict[str, float]]:
    """BMN's proposals of all videos, and the seconds that these and BSN's steps take; drawing scores is not counted."""
    seconds = dict.fromkeys(("BSN: candidates and features", "BSN: proposals", "BMN: proposals"), 0.0)
    parts = []
    for video in range(len(truth.videos)):
        scores = _scores(truth, video, random)
        with _adding(seconds, "BSN: candidates and features"):
            candidates = generate(scores.start, scores.end, GenerationOptions())
            match(candidates.segments, scores.instances)
            describe(scores.action, candidates.segments, ProposalFeatureOptions())
        confidence = random.random(len(candidates.segments))
        with _adding(seconds, "BSN: proposals"):
            bsn_proposals(candidates, confidence, BSN_NMS)
        with _adding(seconds, "BMN: proposals"):
            found = bmn_proposals(scores.confidence, scores.start, scores.end, BMN_NMS)
            parts.append(in_seconds(found, whole_video(truth.durations[video])))
    return _joined(parts), seconds


def whole_way(truth: GroundTruth, found: Results, seconds: dict[str, float], random: np.random.Generator) -> None:
    names, number = truth.labels, len(truth.labels)
    first = dict(zip(truth.video[::-1].tolist(), truth.label[::-1].tolist(), strict=True))
    scores = {
        name: random.random(number) + (np.arange(number) == first.get(video, 0))
        for video, name in enumerate(truth.videos)
    }
    limits = THRESHOLDS["activitynet"]
    with _adding(seconds, "labels"):
        detections = label_results(found, VideoClasses(classes=names, scores=scores), truth, top=2)
    with _adding(seconds, "AR@AN, AUC"):
        area = area_under(average_recall(truth, found))
    with _adding(seconds, "mAP"):
        table = average_precision(truth, detections, protocol="activitynet", thresholds=limits)
    with _adding(seconds, "error analysis"):
        analyse_errors(truth, detections, protocol="activitynet", thresholds=limits)
    rows = [[name, f"{value:.2f}", f"{1000 * value / len(truth.videos):.3f}"] for name, value in seconds.items()]
    rows.append(["all", f"{sum(seconds.values()):.2f}", f"{1000 * sum(seconds.values()) / len(truth.videos):.3f}"])
    print_table([f"{len(truth.videos)} videos", "s", "ms per video"], rows)
    print(f"\nAUC {area:.4f}, average mAP {table.mean():.4f} of drawn scores")


def reference_soft_nms(segments: Floats, scores: Floats, options: SoftNmsOptions) -> list[tuple[float, ...]]:
    """As MMAction2 has it: arrays for a round's overlaps, a loop over the scores."""
    order = np.argsort(-scores, kind="stable")
    starts, ends, left = list(segments[order, 0]), list(segments[order, 1]), list(scores[order])
    chosen = []
    while left and len(chosen) < options.max_proposals:
        best = int(np.argmax(left))
        length = ends[best] - starts[best]
        both = np.maximum(np.minimum(ends[best], np.array(ends)) - np.maximum(starts[best], np.array(starts)), 0)
        overlaps = both / (length - both + np.array(ends) - np.array(starts))
        decays = np.exp(-np.square(overlaps) / options.alpha)
        for k in range(len(left)):
            limit = options.low_threshold + (options.high_threshold - options.low_threshold) * length
            if k != best and overlaps[k] > limit:
                left[k] = left[k] * decays[k]
        chosen.append((starts.pop(best), ends.pop(best), left.pop(best)))
    return chosen


def reference_recall(truth: GroundTruth, found: Results) -> Floats:
    """As MMAction2 has it: for each threshold, video and budget the instances that are reached."""
    videos = [video for video in range(len(truth.videos)) if (truth.video == video).any()]
    total = sum(np.count_nonzero(found.video == video) for video in videos)
    overlaps, retrieved = [], 0
    for video in videos:
        rows = np.flatnonzero(found.video == video)
        rows = rows[np.argsort(found.scores[rows], kind="stable")[::-1]]
        rows = rows[: min(int(len(rows) * (100 * len(videos) / total)), len(rows))]
        retrieved += len(rows)
        instances = truth.segments[truth.video == video]
        columns = [tiou(found.segments[rows], instances[k : k + 1])[:, 0] for k in range(len(instances))]
        overlaps.append(np.stack(columns))
    shares = np.arange(1, 101) / 100.0 * (100 * len(videos) / retrieved)
    recall = np.empty((10, 100))
    for place, threshold in enumerate(np.linspace(0.5, 0.95, 10)):
        reached = np.zeros((len(videos), 100))
        for row, each in enumerate(overlaps):
            hits = each >= threshold
            for budget, share in enumerate(shares):
                reached[row, budget] = np.count_nonzero(hits[:, : int(hits.shape[1] * share)].sum(axis=1))
        recall[place] = reached.sum(axis=0) / sum(map(len, overlaps))
    return recall.mean(axis=0)


def reference_precision(truth: GroundTruth, found: Results, limits: Sequence[float]) -> Floats:
    """As ActivityNet's evaluation and MMAction2 have it: every detection in turn looks for its instance."""
    table = np.zeros((len(truth.labels), len(limits)))
    for label in range(len(truth.labels)):
        rows = np.flatnonzero(found.label == label)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")]
        instances = np.flatnonzero(truth.label == label)
        of_video = {video: instances[truth.video[instances] == video] for video in set(truth.video[instances])}
        hits = np.zeros((len(limits), len(rows)))
        taken = np.zeros((len(limits), len(truth.label)), bool)
        for column, row in enumerate(rows):
            mine = of_video.get(found.video[row])
            if mine is None:
                continue
            overlaps = tiou(found.segments[row : row + 1], truth.segments[mine])[0]
            for place, limit in enumerate(limits):
                for k in np.argsort(overlaps)[::-1]:
                    if overlaps[k] < limit:
                        break
                    if not taken[place, mine[k]]:
                        hits[place, column] = taken[place, mine[k]] = True
                        break
        for place in range(len(limits)):
            right = np.cumsum(hits[place])
            precision = np.hstack([[0], right / np.arange(1, len(rows) + 1), [0]])
            recall = np.hstack([[0], right / len(instances), [1]])
            for k in range(len(precision) - 1)[::-1]:
                precision[k] = max(precision[k], precision[k + 1])
            steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
            table[label, place] = ((recall[steps] - recall[steps - 1]) * precision[steps]).sum()
    return table


def reference_proposals(scores: Scores) -> list[tuple[float, float]]:
    """As MMAction2 has it: every candidate in turn, beside arrays of the instances."""
    starts, ends = scores.instances[:, 0], scores.instances[:, 1]
    matched = []
    for start, end, _, _ in plain_loops.candidates(scores.start, scores.end, 0.5):
        both = np.maximum(np.minimum(end, ends) - np.maximum(start, starts), 0)
        overlap = max(np.divide(both, end - start - both + ends - starts), default=0.0)
        both = np.maximum(np.minimum(end, ends) - np.maximum(start, starts), 0)
        matched.append((overlap, max(np.divide(both, end - start), default=0.0)))
    return matched


def _row(name: str, fast: Callable[[], Any], plain: Callable[[], Any], videos: int, plain_videos: int = 0) -> list[str]:
    ours, loops = _best(fast, 5) / videos, _best(plain, 1) / (plain_videos or videos)
    return [name, f"{1000 * ours:.3f}", f"{1000 * loops:.2f}", f"{loops / ours:.0f}"]


def _best(work: Callable[[], Any], times: int) -> float:
    """Seconds of the fastest of some runs, after one that compiles."""
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@contextmanager
def _adding(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def _truth(path: Path | None, videos: int, random: np.random.Generator) -> GroundTruth:
    if path is not None:
        return read_ground_truth(path, subset="validation")
    counts = random.integers(1, 4, videos)
    durations = random.uniform(20, 230, videos)
    video = np.repeat(np.arange(videos), counts)
    fractions = np.sort(random.random((len(video), 2)), axis=1) * 0.95 + np.array([0, 0.05])
    return GroundTruth(
        videos=tuple(f"video{number}" for number in range(videos)),
        labels=tuple(f"class{number}" for number in range(200)),
        video=video,
        label=np.repeat(np.arange(videos) % 200, counts),
        segments=fractions * durations[video][:, None],
        durations=durations,
    )


def _first(truth: GroundTruth, videos: int) -> GroundTruth:
    kept = truth.video < videos
    return replace(
        truth,
        videos=truth.videos[:videos],
        video=truth.video[kept],
        label=truth.label[kept],
        segments=truth.segments[kept],
        durations=truth.durations[:videos],
    )


def _scores(truth: GroundTruth, video: int, random: np.random.Generator) -> Scores:
    instances = truth.segments[truth.video == video] / truth.durations[video]
    middles = (np.arange(PARTS) + 0.5) / PARTS

    def drawn(signal: Floats, noise: float) -> Floats:
        return np.clip(signal + noise * random.standard_normal(signal.shape), 0.01, 0.99).astype(np.float32)

    def near(times: Floats) -> Floats:
        return np.exp(-(((middles - times[:, None]) / 0.02) ** 2)).max(axis=0, initial=0.0)

    inside = ((middles > instances[:, :1]) & (middles < instances[:, 1:])).any(axis=0)
    lengths, starts = (each.reshape(-1) / PARTS for each in np.mgrid[1 : PARTS + 1, :PARTS])
    overlaps = tiou(np.stack([starts, starts + lengths], axis=1), instances).max(axis=1, initial=0.0)
    return Scores(
        instances=instances,
        action=drawn(0.8 * inside, 0.1),
        start=drawn(0.25 + 0.55 * near(instances[:, 0]), 0.1),
        end=drawn(0.25 + 0.55 * near(instances[:, 1]), 0.1),
        confidence=drawn(np.broadcast_to(overlaps.reshape(PARTS, PARTS), (2, PARTS, PARTS)), 0.15),
    )


def _joined(parts: Sequence[Proposals]) -> Results:
    counts = [len(each.scores) for each in parts]
    return Results(
        video=np.repeat(np.arange(len(parts)), counts),
        label=np.full(sum(counts), -1),
        segments=np.concatenate([each.segments for each in parts]),
        scores=np.concatenate([each.scores for each in parts]),
    )


def _of_videos(found: Results, videos: int) -> Results:
    kept = found.video < videos
    return Results(
        video=found.video[kept], label=found.label[kept], segments=found.segments[kept], scores=found.scores[kept]
    )


def _labels_of(truth: GroundTruth, found: Results) -> NDArray[np.int64]:
    labels = np.zeros(len(truth.videos), np.int64)
    labels[truth.video] = truth.label
    return labels[found.video]


if __name__ == "__main__":
    main()
