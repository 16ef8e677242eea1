"""Proposals and detections of single videos, and their files in ActivityNet's format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema import strict_json
from kinema.data.features.spans import FeatureSpan
from kinema.storage import write_text
from kinema.tasks.localization.metrics.annotations import Results
from kinema.tasks.localization.metrics.segments import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """The proposals of one video, best first; with labels, its detections.

    segments: (n, 2) start and end. scores: (n,). labels: (n,) index into the classes.
    """

    segments: Floats
    scores: Floats
    labels: Ints | None = None

    def __getitem__(self, rows: Ints) -> "Proposals":
        labels = None if self.labels is None else self.labels[rows]
        return Proposals(segments=self.segments[rows], scores=self.scores[rows], labels=labels)

    @classmethod
    def concatenate(cls, parts: Sequence["Proposals"]) -> "Proposals":
        """Return all proposals of several parts, of which all have labels or none, in their order."""
        labels = [part.labels for part in parts if part.labels is not None]
        return cls(
            segments=np.concatenate([np.zeros((0, 2)), *(part.segments for part in parts)]),
            scores=np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
            labels=np.concatenate(labels) if labels else None,
        )


def as_results(proposals: Mapping[int, Proposals]) -> Results:
    """Return the proposals of several videos, by row in the ground truth, as `Results`."""
    empty = Proposals(segments=np.zeros((0, 2)), scores=np.zeros(0))
    each = [empty, *proposals.values()]
    rows = np.repeat(np.array([-1, *proposals], np.int64), [len(one.scores) for one in each])
    return Results(
        video=rows,
        label=np.full(len(rows), -1),
        segments=np.concatenate([one.segments for one in each]),
        scores=np.concatenate([one.scores for one in each]),
    )


def in_seconds(proposals: Proposals, span: FeatureSpan) -> Proposals:
    """Convert proposals from fractions of what features cover to seconds of the video."""
    return replace(proposals, segments=span.seconds(proposals.segments))


def write_results(path: Path, found: Mapping[str, Proposals], classes: Sequence[str] = ()) -> None:
    """Write proposals or detections by the name of their video in ActivityNet's layout of results, in one step.

    Raises:
        OSError: `path` cannot be written.
    """
    write_text(path, strict_json.dumps(results_layout(found, classes)) + "\n")


def results_layout(found: Mapping[str, Proposals], classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return results in ActivityNet's format.

    That is `{"version", "results": {video: [{"segment", "score", "label"}]}, "external_data"}`.

    Args:
        found: proposals or detections in seconds, by the name of their video.
        classes: the names that the labels of detections are indices of.
    """
    results = {video: _instances(each, classes) for video, each in found.items()}
    return {"version": "VERSION 1.3", "results": results, "external_data": {}}


def _instances(found: Proposals, classes: Sequence[str]) -> list[dict[str, Any]]:
    pairs = zip(found.segments.tolist(), found.scores.tolist(), strict=True)
    instances: list[dict[str, Any]] = [{"segment": segment, "score": score} for segment, score in pairs]
    if found.labels is not None:
        for instance, label in zip(instances, found.labels.tolist(), strict=True):
            instance["label"] = classes[label]
    return instances
