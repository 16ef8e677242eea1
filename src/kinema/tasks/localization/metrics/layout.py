"""JSON formats of ground truth and results, read entry by entry for precise error messages."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import UserError
from kinema.storage import Direct
from kinema.tasks.localization.metrics.segments import Floats

Instances = Sequence[tuple[str, Mapping[str, Any]]]
"""Annotations or results, each with the name of its video."""


def read_json(path: str | Path) -> Any:
    """The content of a JSON file, a local path or a URL.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(Direct().read(str(path)).decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None


def read_database(path: str | Path) -> dict[str, Mapping[str, Any]]:
    """The videos of a ground truth, by name.

    Two layouts are read: ActivityNet's `{"database": {video: {"subset", "duration", "annotations"}}}`, and that of
    BMN's and MMAction2's `anet_anno_*.json`, `{video: {"duration_second", "duration_frame", "feature_frame",
    "annotations"}}`.

    Raises:
        UserError: the file has neither layout.
    """
    whole = read_json(path)
    database = whole.get("database", whole) if isinstance(whole, dict) else None
    flat = database is whole
    if not isinstance(database, dict) or (flat and not any(map(_is_video, database.values()))):
        raise UserError(_not_of_the_layout(path, whole, "database"))
    for video, entry in database.items():
        if not isinstance(entry, dict):
            raise UserError(f"{path}: video {video} is {kind(entry)}, expected an object with 'annotations'")
    return database


def read_results_of(path: str | Path) -> Mapping[str, Any]:
    """What ActivityNet's layout of results holds under `results`.

    Raises:
        UserError: the file is not of that layout.
    """
    whole = read_json(path)
    results = whole.get("results") if isinstance(whole, dict) else None
    if not isinstance(results, dict):
        raise UserError(_not_of_the_layout(path, whole, "results"))
    return results


def _is_video(entry: Any) -> bool:
    return isinstance(entry, dict) and not {"annotations", "duration_second"}.isdisjoint(entry)


def _not_of_the_layout(path: str | Path, whole: Any, key: str) -> str:
    if not isinstance(whole, dict):
        found = f"it is {kind(whole)}, expected an object with '{key}'"
    elif key in whole:
        found = f"its '{key}' is {kind(whole[key])}, expected an object"
    else:
        found = f"it has no object '{key}', but {', '.join(map(str, list(whole)[:3])) or 'nothing'}"
    return f"{path} is not of ActivityNet's layout: {found}"


def instances_of(path: str | Path, video: str, listed: Any, *, what: str) -> Iterable[Mapping[str, Any]]:
    """The entries of a video's list of `what`, annotations or results.

    Raises:
        UserError: it is no list of objects.
    """
    if not isinstance(listed, list):
        raise UserError(f"{path}: the {what} of video {video} are {kind(listed)}, expected a list")
    for instance in listed:
        if not isinstance(instance, dict):
            raise UserError(
                f"{path}: one of the {what} of video {video} is {kind(instance)}, expected an object with 'segment'"
            )
    return listed


def label_of(path: str | Path, video: str, instance: Mapping[str, Any]) -> str | None:
    """The label of an instance, a name or an integer; None where it has none.

    Raises:
        UserError: it is something else.
    """
    label = instance.get("label")
    if isinstance(label, bool) or not (label is None or isinstance(label, str | int)):
        raise UserError(f"{path}: a label of video {video} is {kind(label)}, expected a name or an integer")
    return None if label is None else str(label)


def segments_of(path: str | Path, instances: Instances) -> Floats:
    """Start and end of each instance: (n, 2) float64.

    Raises:
        UserError: one has no two finite numbers.
    """
    try:
        segments = np.array([instance["segment"] for _, instance in instances], np.float64).reshape(len(instances), 2)
    except (KeyError, TypeError, ValueError):
        segments = np.full((1, 2), np.nan)
    if not np.isfinite(segments).all():
        video = next(video for video, instance in instances if not _is_segment(instance.get("segment")))
        raise UserError(f"{path}: an instance of video {video} has no segment [start, end] of two finite numbers")
    return segments


def _is_segment(value: Any) -> bool:
    try:
        return len(value) == 2 and all(np.isfinite(float(side)) for side in value)
    except (TypeError, ValueError):
        return False


def scores_of(path: str | Path, instances: Instances) -> Floats:
    """The score of each instance: (n,) float64.

    Raises:
        UserError: one has no finite number.
    """
    try:
        scores = np.array([instance["score"] for _, instance in instances], np.float64).reshape(len(instances))
    except (KeyError, TypeError, ValueError):
        scores = np.full(1, np.nan)
    if not np.isfinite(scores).all():
        return np.array([number_of(path, video, instance, "score") for video, instance in instances], np.float64)
    return scores


def number_of(path: str | Path, video: str, entry: Mapping[str, Any], key: str, missing: float | None = None) -> float:
    """A number of a video's entry; `missing` where the entry has none, if that is allowed.

    Raises:
        UserError: it is not a finite number.
    """
    value = entry.get(key)
    if value is None and missing is not None:
        return missing
    try:
        number = np.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise UserError(f"{path}: the {key} of video {video} is {kind(value)}, expected a finite number")
    return number


def kind(value: Any) -> str:
    """What a JSON value is, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "an object"
        case str():
            return f"the text '{value[:40]}'"
        case _:
            return f"the number {value}"
