"""Prediction of a class."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class WindowPrediction:
    """Predicted classes of a part of a video."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    predictions: tuple[Prediction, ...]
    """Best first."""
