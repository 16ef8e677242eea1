"""Class scores of whole videos, which turn proposals into detections."""

import json
import logging
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.lists.video_names import same_video
from kinema.errors import UserError, did_you_mean
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results, warn_of_unknown_labels
from kinema.tasks.localization.metrics.layout import instances_of, label_of, number_of
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Floats, Ints

log = logging.getLogger(__name__)

_EXPECTED = (
    'JSON {"class": [name, …], "results": {video: [score, …]}} or {"results": {video: [{"label", "score"}, …]}}, '
    "or the npz that `kinema test --dump` writes"
)


@dataclass(frozen=True, kw_only=True)
class VideoClasses:
    """Class scores of whole videos: names of C classes, and (C,) scores by the name of the video.

    A class without a score is -inf, and never a label of the video.
    """

    classes: tuple[str, ...]
    scores: Mapping[str, Floats]


def label_proposals(proposals: Proposals, class_scores: Floats, *, top: int) -> Proposals:
    """Combine each proposal with each of the video's best classes, as BSN and BMN are turned into detectors.

    Args:
        proposals: of one video.
        class_scores: (C,) of the whole video; those of ActivityNet's papers are by UntrimmedNet, from CUHK.
        top: how many classes a video has at most; papers take 1 or 2.

    Returns:
        Detections with the product of both scores.
    """
    best = np.argsort(-class_scores, kind="stable")[:top]
    best = best[np.isfinite(class_scores[best])]
    shape = len(proposals.scores), len(best)
    return with_labels(proposals, np.broadcast_to(best, shape), np.broadcast_to(class_scores[best], shape))


def with_labels(proposals: Proposals, labels: Ints, class_scores: Floats) -> Proposals:
    """Return n proposals with each of their `labels` (n, k), whose scores (n, k) are multiplied with theirs."""
    scores = (proposals.scores[:, None] * class_scores).reshape(-1)
    order = np.argsort(-scores, kind="stable")
    segments = np.repeat(proposals.segments, labels.shape[1], axis=0)
    return Proposals(segments=segments, scores=scores, labels=labels.reshape(-1))[order]


def label_results(
    proposals: Results, classes: VideoClasses, ground_truth: GroundTruth, *, top: int, strict: bool = False
) -> Results:
    """`label_proposals` for the proposals of many videos that were read from a file.

    Left out, counted and said are detections of classes that the ground truth does not have, and the proposals of
    videos without class scores.

    Args:
        proposals: of the videos of `ground_truth`, and perhaps others.
        classes: class scores of the videos.
        ground_truth: whose labels the classes are.
        top: how many classes a video has at most.
        strict: refuse detections of classes that the ground truth does not have, and videos without class scores.

    Raises:
        UserError: the ground truth has none of the classes, no video has class scores, or what `strict` refuses.
    """
    numbers = {name: number for number, name in enumerate(ground_truth.labels)}
    number = np.array([numbers.get(name, -1) for name in classes.classes], np.int64)
    if (number < 0).all():
        first = classes.classes[0] if classes.classes else "none"
        raise UserError(
            f"none of the classifier's {len(classes.classes)} classes ({first}, …) is a label of the ground truth"
            f"{did_you_mean(first, numbers)}"
        )
    names = (*ground_truth.videos, *proposals.others)
    order = np.argsort(proposals.video, kind="stable")
    videos, starts = np.unique(proposals.video[order], return_index=True)
    parts, without, unknown = [], list[tuple[str, int]](), list[str]()
    for video, rows in zip(videos.tolist(), np.split(order, starts[1:]), strict=True):
        name = same_video(names[video], classes.scores)
        if name is None:
            without.append((names[video], len(rows)))
            continue
        of_video = Proposals(segments=proposals.segments[rows], scores=proposals.scores[rows])
        found = label_proposals(of_video, classes.scores[name], top=top)
        assert found.labels is not None
        known = number[found.labels] >= 0
        unknown += [classes.classes[label] for label in found.labels[~known]]
        labels, segments = number[found.labels[known]], found.segments[known]
        parts.append((np.full(len(labels), video), labels, segments, found.scores[known]))
    _warn_of_missing_scores(without, len(videos), len(classes.scores), strict=strict)
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0))
    video_of, label, segments, scores = (np.concatenate(each) for each in zip(empty, *parts, strict=True))
    warn_of_unknown_labels("labels by class scores", unknown, len(label) + len(unknown), numbers, strict=strict)
    return Results(
        video=video_of,
        label=label,
        segments=segments,
        scores=scores,
        others=proposals.others,
        left_out=proposals.left_out + len(unknown) + sum(count for _, count in without),
    )


def _warn_of_missing_scores(without: Sequence[tuple[str, int]], videos: int, scored: int, *, strict: bool) -> None:
    """Warn of videos, each with its number of proposals, that have no class scores."""
    if without and (strict or len(without) == videos):
        raise UserError(f"video {without[0][0]} has no class scores; there are some for {scored} videos")
    if without:
        log.warning(
            "%d of %d videos have no class scores, such as %s: their %d proposals are left out",
            len(without), videos, without[0][0], sum(count for _, count in without),
        )  # fmt: skip


def read_video_classes(path: Path) -> VideoClasses:
    """Read class scores of whole videos.

    Args:
        path: JSON `{"class": [name, …], "results": {video: [score, …]}}` as CUHK's cuhk_val_simp_share.json; JSON
            `{"results": {video: [{"label", "score"}, …]}}`, ActivityNet's layout of classification results; or the npz
            that `kinema test --dump` writes, in which a video is called as its file is, with or without the ending.

    Raises:
        UserError: the file is none of these, or a score is no finite number.
    """
    try:
        found = _of_npz(path) if path.suffix == ".npz" else _of_json(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile):
        raise UserError(f"{path} does not hold class scores: expected {_EXPECTED}") from None
    for video, scores in found.scores.items():
        if scores.shape != (len(found.classes),):
            raise UserError(
                f"{path}: there are {len(found.classes)} classes, but {scores.size} scores of video {video}"
            )
        if np.isnan(scores).any() or (scores == np.inf).any():
            raise UserError(f"{path}: a score of video {video} is not a finite number")
    return found


def _of_json(path: Path) -> VideoClasses:
    whole = json.loads(path.read_text(encoding="utf-8-sig"))
    results: dict[str, list[Any]] = whole["results"]
    if any(isinstance(each, dict) for listed in results.values() for each in listed):
        return _of_labelled(path, results, [str(name) for name in whole.get("class", ())])
    return VideoClasses(
        classes=tuple(map(str, whole["class"])),
        scores={video: np.asarray(scores, np.float64) for video, scores in results.items()},
    )


def _of_labelled(path: Path, results: Mapping[str, list[Any]], classes: Sequence[str]) -> VideoClasses:
    """ActivityNet's layout of classification results; a label that a video has twice counts by its higher score."""
    pairs = [
        (video, label_of(path, video, each), number_of(path, video, each, "score"))
        for video, listed in results.items()
        for each in instances_of(path, video, listed, what="class scores")
    ]
    if unlabelled := [video for video, label, _ in pairs if label is None]:
        raise UserError(f"{path}: a class score of video {unlabelled[0]} has no label")
    names = tuple(classes) or tuple(sorted({str(label) for _, label, _ in pairs}))
    number = {name: index for index, name in enumerate(names)}
    scores: dict[str, Floats] = {}
    for video, label, score in pairs:
        if label not in number:
            raise UserError(f"{path}: label '{label}' of video {video} is not one of the file's classes")
        of_video = scores.setdefault(video, np.full(len(names), -np.inf))
        of_video[number[label]] = max(of_video[number[label]], score)
    return VideoClasses(classes=names, scores=scores)


def _of_npz(path: Path) -> VideoClasses:
    with np.load(path, allow_pickle=False) as dumped:
        scores = dumped["scores"].astype(np.float64)
        classes, paths = tuple(map(str, dumped["classes"])), [Path(str(name)) for name in dumped["paths"]]
    by_name, ambiguous = dict[str, Floats](), list[Path]()
    counts = Counter(name for video in paths for name in {video.stem, video.name})
    for video, of_video in zip(paths, scores, strict=True):
        by_name |= {name: of_video for name in (video.stem, video.name) if counts[name] == 1}
        if counts[video.name] > 1:
            ambiguous.append(video)
    if ambiguous:
        log.warning(
            "%s: %d videos share their names with others, such as %s: their class scores are not used",
            path, len(ambiguous), ambiguous[0],
        )  # fmt: skip
    return VideoClasses(classes=classes, scores=by_name)
