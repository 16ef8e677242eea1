"""Metrics of each class of a recognizer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

Table = list[list[Any]]
"""Rows of cells, the first of which are names of the columns."""


class PerClass(NamedTuple):
    """Metrics of C classes, (C,) each; NaN where they are undefined.

    support: videos of the class. precision: share of the videos predicted as the class that show it. recall: share of
    the class's videos that are predicted as it. f1: harmonic mean of both. average_precision: None where each video has
    one label.
    """

    support: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor
    average_precision: Tensor | None


def per_class_metrics(
    right: Tensor, *, of_class: Tensor, predicted: Tensor, average_precision: Tensor | None = None
) -> PerClass:
    """Return the metrics of classes from their numbers of right predictions, of videos, and of predictions, (C,)."""
    right, of_class, predicted = (counts.cpu().double() for counts in (right, of_class, predicted))
    return PerClass(
        support=of_class.long(),
        precision=right / predicted,  # 0 / 0 is NaN
        recall=right / of_class,
        f1=2 * right / (of_class + predicted),
        average_precision=None if average_precision is None else average_precision.cpu().double(),
    )


def per_class_table(metrics: PerClass, classes: Sequence[str]) -> Table:
    """Return the table `class, support, precision, recall, f1` and, of multi-label videos, `AP`; None for NaN."""
    columns = {name: column for name, column in metrics._asdict().items() if column is not None}
    cells = [[_defined(value) for value in column.tolist()] for column in columns.values()]
    header = ["class", *("AP" if name == "average_precision" else name for name in columns)]
    return [header, *([name, *row] for name, row in zip(classes, zip(*cells, strict=True), strict=True))]


def confusion_table(confusion: Tensor, classes: Sequence[str]) -> Table:
    """Return the confusion matrix (C, C) with the names of the true (rows) and predicted classes (columns)."""
    rows = zip(classes, confusion.tolist(), strict=True)
    return [["true class", *classes], *([name, *counts] for name, counts in rows)]


def _defined(value: float) -> float | None:
    return None if value != value else value
