"""Prediction of a class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NONE_OF_THESE = ""
"""Label of a prediction that no class is probable enough; classes have no empty names."""


@dataclass(frozen=True)
class Prediction:
    """A predicted class of a video."""

    label: str
    """Name of the class, or `NONE_OF_THESE`."""
    score: float
    """Probability of the class; over all classes these sum to 1, except for multiple labels."""

    @property
    def text(self) -> str:
        """Label to show."""
        return self.label or "none of these"

    def as_json(self) -> dict[str, str | float | None]:
        """Return `{"label", "score"}`, where the label is None if it is none of the classes."""
        return {"label": self.label or None, "score": self.score}


def at_least(predictions: Sequence[Prediction], score: float) -> list[Prediction]:
    """Return the predictions of at least this score, best first; if there is none, that it is none of these classes.

    That prediction has the score of the best class.
    """
    kept = [prediction for prediction in predictions if prediction.score >= score]
    return kept or [Prediction(NONE_OF_THESE, prediction.score) for prediction in predictions[:1]]


@dataclass(frozen=True, kw_only=True)
class WindowPrediction:
    """Predicted classes of a window of a video or of a live stream."""

    video: str
    """Path or URL without its secrets."""
    start: float
    """Seconds of the video, or of the stream since its first frame."""
    end: float
    """Seconds."""
    predictions: tuple[Prediction, ...]
    """Best first; of those below `min_score`, if there is no other, the best one as `NONE_OF_THESE`."""
    scores: Mapping[str, float]
    """Score of each class."""
    time: float | None = None
    """Of a live stream: wall clock at the end of the window, in seconds since 1970 UTC."""
    min_score: float = 0.0
    """Least score of `predictions` that was asked for."""

    def as_json(self) -> dict[str, Any]:
        """Return the answer as `kinema predict --every` prints it.

        `{"video", "start", "end", "scores": {class: score}}`; with `time` in ISO 8601 of a live stream, and with
        `predictions: [{"label", "score"}]`, whose label is None if it is none of the classes, where a `min_score` was
        asked for. Times are rounded to milliseconds, scores to 6 decimals.
        """
        line: dict[str, Any] = {"video": self.video}
        if self.time is not None:
            line["time"] = iso_time(self.time)
        line |= {"start": round(self.start, 3), "end": round(self.end, 3)}
        if self.min_score:
            line["predictions"] = [Prediction(one.label, round(one.score, 6)).as_json() for one in self.predictions]
        return {**line, "scores": {label: round(score, 6) for label, score in self.scores.items()}}


def iso_time(seconds: float) -> str:
    """Return seconds since 1970 as an ISO 8601 time in UTC, to milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
