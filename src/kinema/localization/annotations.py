"""Who does what when, as ActivityNet's JSON files say it: ground truth, and results to be measured against it."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.data.video_names import same_video
from kinema.errors import UserError, did_you_mean
from kinema.localization.text_results import read_text_results

log = logging.getLogger(__name__)

AMBIGUOUS = "Ambiguous"
"""THUMOS14's label of instances that are neither asked for nor counted as mistakes."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """The instances of some videos, in the order of the file.

    videos: their names. labels: names of the classes that occur, in alphabetical order, `AMBIGUOUS` not among them.
    video, label: (n,) of each instance, indices into these; label is -1 where it is ambiguous. segments: (n, 2) start
    and end in seconds. durations: (videos,) in seconds, nan where the file does not say.
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: Ints
    label: Ints
    segments: Floats
    durations: Floats


@dataclass(frozen=True, kw_only=True)
class Results:
    """Detections, or proposals, in the order of their file.

    video: (n,) index into the ground truth's videos; those that it does not have are numbered on, in the order of
    `others`. label: (n,) index into its labels; of proposals -1. segments: (n, 2) in seconds. scores: (n,).
    """

    video: Ints
    label: Ints
    segments: Floats
    scores: Floats
    others: tuple[str, ...] = ()


def subsets_of(path: Path) -> tuple[str, ...]:
    """The subsets that the videos of a ground truth of ActivityNet's JSON layout are said to be of.

    Raises:
        UserError: the file is not of that layout.
    """
    return tuple(sorted({str(entry.get("subset", "")) for entry in _part(path, "database").values()} - {""}))


def read_ground_truth(path: Path, *, subset: str = "") -> GroundTruth:
    """The ground truth of ActivityNet's JSON layout, of all its videos or of those of `subset` (`validation`, …).

    Raises:
        UserError: the file is not of that layout, has no such subset, or an instance ends before it starts.
    """
    database = _part(path, "database")
    subsets = sorted({str(entry.get("subset", "")) for entry in database.values()})
    if subset and subset not in subsets:
        raise UserError(f"{path} has no subset '{subset}'{did_you_mean(subset, subsets)}; it has {', '.join(subsets)}")
    chosen = {name: entry for name, entry in database.items() if not subset or entry.get("subset") == subset}
    instances = [(video, each) for video, entry in chosen.items() for each in entry.get("annotations", ())]
    segments = _segments(path, instances)
    if (faulty := np.flatnonzero(segments[:, 1] < segments[:, 0])).size:
        video, each = instances[faulty[0]]
        raise UserError(f"{path}: an instance of video {video} ends before it starts: {each['segment']}")
    names = [_label(path, video, each) for video, each in instances]
    labels = tuple(sorted(set(names) - {AMBIGUOUS}))
    number = {name: place for place, name in enumerate(labels)} | {AMBIGUOUS: -1}
    place = {name: index for index, name in enumerate(chosen)}
    return GroundTruth(
        videos=tuple(chosen),
        labels=labels,
        video=np.array([place[video] for video, _ in instances], np.int64),
        label=np.array([number[name] for name in names], np.int64),
        segments=segments,
        durations=np.array([entry.get("duration", np.nan) for entry in chosen.values()], np.float64),
    )


def read_results(path: Path, ground_truth: GroundTruth, *, labelled: bool) -> Results:
    """Detections (`labelled`) or proposals, to be measured against `ground_truth`.

    Args:
        path: a JSON file of ActivityNet's layout, or a .txt file of THUMOS14's (`read_text_results`).
        ground_truth: its videos may be called v_NAME here and NAME there.
        labelled: whether labels are read.

    Raises:
        UserError: the file is not of that layout, a label is not the ground truth's, or a number is none.
    """
    found = read_text_results(path) if path.suffix == ".txt" else _part(path, "results")
    instances = [(video, each) for video, list_ in found.items() for each in _listed(path, video, list_)]
    place = {name: index for index, name in enumerate(ground_truth.videos)}
    place |= {name: place[known] for name in found if (known := same_video(name, place)) is not None}
    others = [name for name in found if name not in place]
    place |= {name: len(ground_truth.videos) + index for index, name in enumerate(others)}
    if others:
        log.warning(
            "%s: %d of %d videos are not in the ground truth, such as %s", path, len(others), len(found), others[0]
        )
    number = {name: index for index, name in enumerate(ground_truth.labels)}
    names = [_label(path, video, each) for video, each in instances] if labelled else []
    if unknown := sorted({name for name in names if name not in number}):
        raise UserError(
            f"{path}: the ground truth has no label '{unknown[0]}'{did_you_mean(unknown[0], number)}"
            + (f" ({len(unknown)} labels are unknown)" if len(unknown) > 1 else "")
        )
    results = Results(
        video=np.array([place[video] for video, _ in instances], np.int64),
        label=np.array([number[name] for name in names], np.int64) if labelled else np.full(len(instances), -1),
        segments=_segments(path, instances),
        scores=_numbers(path, instances, "score"),
        others=tuple(others),
    )
    _warn_of_odd_segments(path, results, ground_truth)
    return results


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


_Instances = Sequence[tuple[str, Mapping[str, Any]]]


def _part(path: Path, key: str) -> Mapping[str, Any]:
    """What the JSON file holds under `key`; ground truth may also be without it, as BMN's annotation files are."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    part = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(part, dict):
        found = ", ".join(map(str, list(whole)[:3])) if isinstance(whole, dict) else type(whole).__name__
        raise UserError(f"{path} is not of ActivityNet's layout: it has no object '{key}', but {found or 'nothing'}")
    return part


def _listed(path: Path, video: str, found: Any) -> Iterable[Mapping[str, Any]]:
    if not isinstance(found, list):
        raise UserError(f"{path}: the results of video {video} are not a list")
    return found


def _label(path: Path, video: str, instance: Mapping[str, Any]) -> str:
    if not isinstance(instance.get("label"), str):
        raise UserError(f"{path}: an instance of video {video} has no label")
    return str(instance["label"])


def _segments(path: Path, instances: _Instances) -> Floats:
    """(n, 2) float64, finite."""
    try:
        segments = np.array([each["segment"] for _, each in instances], np.float64).reshape(len(instances), 2)
    except (KeyError, TypeError, ValueError):
        segments = np.full((1, 2), np.nan)
    if not np.isfinite(segments).all():
        video = next(video for video, each in instances if not _is_segment(each.get("segment")))
        raise UserError(f"{path}: an instance of video {video} has no segment [start, end] of two finite numbers")
    return segments


def _is_segment(value: Any) -> bool:
    try:
        return len(value) == 2 and all(np.isfinite(float(side)) for side in value)
    except (TypeError, ValueError):
        return False


def _numbers(path: Path, instances: _Instances, key: str) -> Floats:
    try:
        numbers = np.array([each[key] for _, each in instances], np.float64)
    except (KeyError, TypeError, ValueError):
        numbers = np.full(1, np.nan)
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: not every result has a finite number as its {key}")
    return numbers
