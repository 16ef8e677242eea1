"""Predictions of windows, from their scores."""

from collections.abc import Sequence

from kinema.prediction import Prediction, WindowPrediction, at_least
from kinema.tasks.timeline.scorer import WindowScores


class Predictions:
    """Turns scores of windows into answers about one video or stream.

    Args:
        classes: names of the classes.
        top: number of predictions, at most.
        min_score: least score of a prediction; see `kinema.prediction.at_least`.
    """

    def __init__(self, classes: Sequence[str], *, top: int, min_score: float = 0.0) -> None:
        self.classes, self.top, self.min_score = classes, top, min_score

    def of(self, video: str, answer: WindowScores, *, time: float | None = None) -> WindowPrediction:
        """Return the answer about a window of `video`, which is named without its secrets."""
        scores = answer.scores.tolist()
        best = sorted(range(len(scores)), key=lambda label: -scores[label])[: self.top]
        predictions = [Prediction(self.classes[label], scores[label]) for label in best]
        return WindowPrediction(
            video=video,
            start=answer.start,
            end=answer.end,
            predictions=tuple(at_least(predictions, self.min_score)),
            scores=dict(zip(self.classes, scores, strict=True)),
            time=time,
            min_score=self.min_score,
        )
