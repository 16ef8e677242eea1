"""ActivityNet-format ground truth and results."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.lists.video_names import same_video
from kinema.errors import UserError, did_you_mean
from kinema.tasks.localization.metrics.layout import (
    instances_of,
    label_of,
    number_of,
    read_database,
    read_results_of,
    scores_of,
    segments_of,
)
from kinema.tasks.localization.metrics.segments import Floats, Ints
from kinema.tasks.localization.metrics.text_results import read_text_results

log = logging.getLogger(__name__)

AMBIGUOUS = "Ambiguous"
"""THUMOS14's label of instances that are ignored: neither required nor false positives."""


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """The instances of some videos, in the order of the file.

    videos: their names. labels: names of the classes that occur, in alphabetical order, `AMBIGUOUS` not among them; an
    instance without a label is of the class "". video, label: (n,) of each instance, indices into these; label is -1
    where it is ambiguous. segments: (n, 2) start and end in seconds. durations: (videos,) in seconds, nan where the
    file does not say. feature_shares: (videos,) the fraction of each video that the dataset's features cover, nan where
    the file does not say; None: it says so of no video. elsewhere: names of the file's videos of other subsets.
    fps: (videos,) frames per second, nan where the file does not say; None: it says so of no video.
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: Ints
    label: Ints
    segments: Floats
    durations: Floats
    feature_shares: Floats | None = None
    elsewhere: frozenset[str] = frozenset()
    fps: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Detections, or proposals, in the order of their file.

    video: (n,) index into the ground truth's videos; those that it does not have are numbered on, in the order of
    `others`. label: (n,) index into its labels; of proposals -1. segments: (n, 2) in seconds. scores: (n,). left_out:
    how many more results there were, whose labels the ground truth does not have.
    """

    video: Ints
    label: Ints
    segments: Floats
    scores: Floats
    others: tuple[str, ...] = ()
    left_out: int = 0


def subsets_of(path: str | Path) -> tuple[str, ...]:
    """Return the subsets that a ground truth names, see `read_ground_truth`.

    Raises:
        UserError: the file is not a ground truth.
    """
    return tuple(sorted({str(entry.get("subset", "")) for entry in read_database(path).values()} - {""}))


def read_ground_truth(path: str | Path, *, subset: str = "", labelled: bool = True) -> GroundTruth:
    """Read all videos of a ground truth, or those of `subset` (`validation`, …).

    Args:
        path: JSON file of ActivityNet's layout, or of that of BMN's and MMAction2's `anet_anno_*.json`, see
            `read_database`. The share of a video that its features cover is feature_frame / duration_frame.
        subset: which videos; empty: all.
        labelled: whether each instance must have a label, a name or an integer.

    Raises:
        UserError: the file is of another layout, has no such subset, a number or a label is faulty, or an instance ends
            before it starts.
    """
    database = read_database(path)
    subsets = sorted({str(entry.get("subset", "")) for entry in database.values()})
    if subset and subset not in subsets:
        raise UserError(_unknown_subset(path, subset, subsets))
    chosen = {name: entry for name, entry in database.items() if not subset or str(entry.get("subset")) == subset}
    instances = [
        (video, instance)
        for video, entry in chosen.items()
        for instance in instances_of(path, video, entry.get("annotations", []), what="annotations")
    ]
    segments = segments_of(path, instances)
    if (faulty := np.flatnonzero(segments[:, 1] < segments[:, 0])).size:
        video, instance = instances[faulty[0]]
        raise UserError(f"{path}: an instance of video {video} ends before it starts: {instance['segment']}")
    names = [label_of(path, video, instance) for video, instance in instances]
    if labelled and None in names:
        raise UserError(f"{path}: an instance of video {instances[names.index(None)][0]} has no label")
    texts = [name or "" for name in names]
    labels = tuple(sorted(set(texts) - {AMBIGUOUS}))
    number = {name: index for index, name in enumerate(labels)} | {AMBIGUOUS: -1}
    row = {name: index for index, name in enumerate(chosen)}
    shares = np.array([_feature_share(path, *item) for item in chosen.items()], np.float64)
    fps = np.array([number_of(path, *item, "fps", missing=np.nan) for item in chosen.items()], np.float64)
    return GroundTruth(
        videos=tuple(chosen),
        labels=labels,
        video=np.array([row[video] for video, _ in instances], np.int64),
        label=np.array([number[name] for name in texts], np.int64),
        segments=segments,
        durations=np.array([_duration(path, *item) for item in chosen.items()], np.float64),
        feature_shares=None if np.isnan(shares).all() else shares,
        elsewhere=frozenset(database.keys() - chosen.keys()),
        fps=None if np.isnan(fps).all() else fps,
    )


def _unknown_subset(path: str | Path, subset: str, subsets: list[str]) -> str:
    if subsets == [""]:
        return f"{path} has no subset '{subset}': it does not say of what subset its videos are"
    return f"{path} has no subset '{subset}'{did_you_mean(subset, subsets)}; it has {', '.join(subsets)}"


def _duration(path: str | Path, video: str, entry: Mapping[str, Any]) -> float:
    key = "duration" if "duration" in entry else "duration_second"
    seconds = number_of(path, video, entry, key, missing=np.nan)
    if seconds < 0:
        raise UserError(f"{path}: the {key} of video {video} is {seconds:g}, expected seconds")
    return seconds


def _feature_share(path: str | Path, video: str, entry: Mapping[str, Any]) -> float:
    with_features = number_of(path, video, entry, "feature_frame", missing=np.nan)
    frames = number_of(path, video, entry, "duration_frame", missing=np.nan)
    if with_features <= 0 or frames <= 0:
        raise UserError(
            f"{path}: of video {video} feature_frame is {with_features:g} and duration_frame {frames:g}, expected "
            "numbers of frames"
        )
    return with_features / frames


def read_results(path: Path, ground_truth: GroundTruth, *, labelled: bool, strict: bool = False) -> Results:
    """Read detections (`labelled`) or proposals, to be measured against `ground_truth`.

    Results of the ground truth's videos of other subsets are left out, and so are detections of labels that it does not
    have, which are counted.

    Args:
        path: a JSON file of ActivityNet's layout, or a .txt file of THUMOS14's (`read_text_results`).
        ground_truth: its videos may be called v_NAME here and NAME there.
        labelled: whether labels are read.
        strict: refuse labels that the ground truth does not have.

    Raises:
        UserError: the file is not of that layout, a number is none, or, if `strict`, a label is unknown.
    """
    listed = read_text_results(path) if path.suffix == ".txt" else read_results_of(path)
    listed = _of_subset(path, listed, ground_truth)
    instances = [
        (video, instance)
        for video, list_ in listed.items()
        for instance in instances_of(path, video, list_, what="results")
    ]
    row = {name: index for index, name in enumerate(ground_truth.videos)}
    row |= {name: row[known] for name in listed if (known := same_video(name, row)) is not None}
    others = [name for name in listed if name not in row]
    row |= {name: len(ground_truth.videos) + index for index, name in enumerate(others)}
    if others:
        log.warning(
            "%s: %d of %d videos are not in the ground truth, such as %s: their results count as mistakes",
            path, len(others), len(listed), others[0],
        )  # fmt: skip
    label = np.full(len(instances), -1)
    if labelled:
        names = [label_of(path, video, instance) for video, instance in instances]
        if None in names:
            raise UserError(
                f"{path}: a result of video {instances[names.index(None)][0]} has no label: --video-classes labels "
                "proposals"
            )
        number = {name: index for index, name in enumerate(ground_truth.labels)}
        label = np.array([number.get(name or "", -1) for name in names], np.int64)
        unknown = [name for name in names if name not in number]
        warn_of_unknown_labels(str(path), [name or "" for name in unknown], len(names), number, strict=strict)
    kept = label >= 0 if labelled else np.ones(len(label), np.bool_)
    results = Results(
        video=np.array([row[video] for video, _ in instances], np.int64)[kept],
        label=label[kept],
        segments=segments_of(path, instances)[kept],
        scores=scores_of(path, instances)[kept],
        others=tuple(others),
        left_out=int((~kept).sum()),
    )
    _warn_of_odd_segments(path, results, ground_truth)
    return results


def warn_of_unknown_labels(
    what: str, unknown: Sequence[str], total: int, known: Collection[str], *, strict: bool
) -> None:
    """Warn of results whose labels `unknown`, one of each result, the ground truth does not have.

    Raises:
        UserError: there are some, and `strict`.
    """
    if not unknown:
        return
    labels = sorted(set(unknown))
    near = next((hint for label in labels if (hint := did_you_mean(label, known))), "")
    if strict:
        several = f" ({len(labels)} labels are unknown)" if len(labels) > 1 else ""
        raise UserError(f"{what}: the ground truth has no label '{labels[0]}'{did_you_mean(labels[0], known)}{several}")
    log.warning(
        "%s: %d of %d results are left out, as the ground truth has none of their %d labels, such as '%s'%s",
        what, len(unknown), total, len(labels), labels[0], near,
    )  # fmt: skip


def _of_subset(path: Path, listed: Mapping[str, Any], ground_truth: GroundTruth) -> Mapping[str, Any]:
    """Return the results without those of videos of other subsets."""
    if not ground_truth.elsewhere:
        return listed
    here = frozenset(ground_truth.videos)
    kept = {
        name: results
        for name, results in listed.items()
        if same_video(name, here) is not None or same_video(name, ground_truth.elsewhere) is None
    }
    if len(kept) < len(listed):
        log.warning(
            "%s: %d of %d videos are of other subsets of the ground truth, and left out",
            path, len(listed) - len(kept), len(listed),
        )  # fmt: skip
    return kept


def _warn_of_odd_segments(path: Path, results: Results, ground_truth: GroundTruth) -> None:
    """The protocols take every segment as it is: one that ends before it starts overlaps nothing."""
    durations = np.append(ground_truth.durations, np.full(len(results.others), np.nan))[results.video]
    start, end = results.segments.T
    for odd, said in (
        (end < start, "end before they start, and count as mistakes"),
        ((start < 0) | (end > durations * (1 + 1e-6)), "reach outside their video, and count as they are"),
    ):
        if (places := np.flatnonzero(odd)).size:
            names = (*ground_truth.videos, *results.others)
            first = f"{results.segments[places[0]].tolist()} of video {names[results.video[places[0]]]}"
            log.warning("%s: %d of %d segments %s, such as %s", path, len(places), len(odd), said, first)
