"""What a model answers about one video."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One class that a video may show."""

    label: str
    """The name of the class."""
    score: float
    """Its probability; over all classes these sum to 1, unless a video may show any number of them."""
