"""From proposals to detections: what happens in a video gives its proposals their labels."""

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema import strict_json
from kinema.data.video_names import same_video
from kinema.errors import UserError
from kinema.localization.annotations import Floats, GroundTruth, Ints, Results
from kinema.localization.postprocess import Proposals
from kinema.storage import write_text

log = logging.getLogger(__name__)

_EXPECTED = 'JSON {"class": [name, …], "results": {video: [score, …]}}, or the npz that `kinema test --dump` writes'


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The detections of one video, best first.

    segments: (n, 2) in seconds. scores: (n,). labels: (n,) index into the classes.
    """

    segments: Floats
    scores: Floats
    labels: Ints


@dataclass(frozen=True, kw_only=True)
class VideoClasses:
    """What a classifier says about whole videos: names of C classes, and (C,) scores by the name of the video."""

    classes: tuple[str, ...]
    scores: Mapping[str, Floats]


def label_proposals(proposals: Proposals, class_scores: Floats, *, top: int) -> Detections:
    """Every proposal once with each of the video's best classes, as BSN and BMN are turned into detectors.

    Args:
        proposals: of one video.
        class_scores: (C,) of the whole video; those of ActivityNet's papers are by UntrimmedNet, from CUHK.
        top: how many classes a video has at most; papers take 1 or 2.

    Returns:
        Detections with the product of both scores.
    """
    best = np.argsort(-class_scores, kind="stable")[:top]
    scores = np.outer(proposals.scores, class_scores[best]).reshape(-1)
    order = np.argsort(-scores, kind="stable")
    return Detections(
        segments=np.repeat(proposals.segments, len(best), axis=0)[order],
        scores=scores[order],
        labels=np.tile(best, len(proposals.scores))[order],
    )


def label_results(proposals: Results, classes: VideoClasses, ground_truth: GroundTruth, *, top: int) -> Results:
    """`label_proposals` for the proposals of many videos that were read from a file.

    Classes that the ground truth does not have are left out, with a warning: no detection of them can be measured.

    Raises:
        UserError: a video has no class scores, or the ground truth has none of the classes.
    """
    numbers = {name: number for number, name in enumerate(ground_truth.labels)}
    number = np.array([numbers.get(name, -1) for name in classes.classes], np.int64)
    if (number < 0).all():
        raise UserError(f"none of the classifier's classes ({classes.classes[0]}, …) is a label of the ground truth")
    if (number < 0).any():
        unknown = [name for name in classes.classes if name not in numbers]
        log.warning("%d classes are not the ground truth's and left out, such as %s", len(unknown), unknown[0])
    names = (*ground_truth.videos, *proposals.others)
    order = np.argsort(proposals.video, kind="stable")
    videos, starts = np.unique(proposals.video[order], return_index=True)
    parts = []
    for video, rows in zip(videos.tolist(), np.split(order, starts[1:]), strict=True):
        scores = _scores_of(names[video], classes)
        of_video = Proposals(segments=proposals.segments[rows], scores=proposals.scores[rows])
        found = label_proposals(of_video, scores, top=top)
        known = number[found.labels] >= 0
        labels, segments = number[found.labels[known]], found.segments[known]
        parts.append((np.full(len(labels), video), labels, segments, found.scores[known]))
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0))
    video_of, label, segments, scores = (np.concatenate(each) for each in zip(empty, *parts, strict=True))
    return Results(video=video_of, label=label, segments=segments, scores=scores, others=proposals.others)


def read_video_classes(path: Path) -> VideoClasses:
    """Read class scores of whole videos.

    Args:
        path: JSON `{"class": [name, …], "results": {video: [score, …]}}` as CUHK's cuhk_val_simp_share.json, or the npz
            that `kinema test --dump` writes; in it a video is called as its file is, without the ending.

    Raises:
        UserError: the file is neither.
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
    return found


def write_results(path: Path, found: Mapping[str, Proposals | Detections], classes: Sequence[str] = ()) -> None:
    """Write proposals or detections by the name of their video in ActivityNet's layout of results, in one step.

    Raises:
        OSError: `path` cannot be written.
    """
    write_text(path, strict_json.dumps(results_layout(found, classes)) + "\n")


def results_layout(found: Mapping[str, Proposals | Detections], classes: Sequence[str] = ()) -> dict[str, Any]:
    """ActivityNet's layout: `{"version", "results": {video: [{"segment", "score", "label"}]}, "external_data"}`.

    Args:
        found: proposals or detections in seconds, by the name of their video; proposals have no label.
        classes: the names that the labels of detections are indices of.
    """
    results = {video: _instances(each, classes) for video, each in found.items()}
    return {"version": "VERSION 1.3", "results": results, "external_data": {}}


def _instances(found: Proposals | Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    pairs = zip(found.segments.tolist(), found.scores.tolist(), strict=True)
    instances: list[dict[str, Any]] = [{"segment": segment, "score": score} for segment, score in pairs]
    if isinstance(found, Detections):
        for instance, label in zip(instances, found.labels.tolist(), strict=True):
            instance["label"] = classes[label]
    return instances


def _scores_of(video: str, classes: VideoClasses) -> Floats:
    name = same_video(video, classes.scores)
    if name is None:
        raise UserError(f"video {video} has no class scores; there are some for {len(classes.scores)} videos")
    return classes.scores[name]


def _of_json(path: Path) -> VideoClasses:
    whole = json.loads(path.read_text(encoding="utf-8"))
    return VideoClasses(
        classes=tuple(map(str, whole["class"])),
        scores={video: np.asarray(scores, np.float64) for video, scores in whole["results"].items()},
    )


def _of_npz(path: Path) -> VideoClasses:
    with np.load(path, allow_pickle=False) as dumped:
        scores = dumped["scores"].astype(np.float64)
        names = [Path(str(name)).stem for name in dumped["paths"]]
        return VideoClasses(classes=tuple(map(str, dumped["classes"])), scores=dict(zip(names, scores, strict=True)))
