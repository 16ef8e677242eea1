"""Prediction of a class."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """A predicted class of a video."""

    label: str
    """Name of the class."""
    score: float
    """Probability of the class; over all classes these sum to 1, except for multiple labels."""
