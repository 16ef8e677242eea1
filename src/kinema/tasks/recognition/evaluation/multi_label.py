"""Metrics of multi-label videos over all processes of a distributed run."""

import math
import warnings

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelAveragePrecision

from kinema.tasks.recognition.evaluation.per_class import PerClass, per_class_metrics
from kinema.tasks.recognition.scoring import multi_hot, right_answers


class MultiLabelMetrics:
    """Mean average precision and top-1 of multi-label videos, over all processes of a distributed run."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        self._precision = MultilabelAveragePrecision(num_classes, average="none", validate_args=False).to(device)
        self._counts = _Counts(num_classes).to(device)
        # A process without videos must still send arrays of the right type to the others.
        self.update(torch.empty((0, num_classes), device=device), torch.empty((0, 1), dtype=torch.int64, device=device))

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add scores (B, classes) and labels (B, L) of videos, rows padded with -1."""
        targets = multi_hot(labels, self._num_classes)
        self._precision.update(scores, targets.long())
        self._counts.update(scores, targets)

    def compute(self) -> tuple[dict[str, float], None]:
        """Fractions `mAP` and `top1`, and the count `videos`. There is no confusion matrix.

        mAP is the mean, over the classes that occur, of the precision at the rank of each of a class's videos; NaN
        where no class occurs. top1 is the fraction of videos whose highest score is that of one of their classes; of
        one class alone, of the videos where a probability of at least 0.5 says rightly whether it is there.
        """
        right, videos, of_class = self._counts.compute()[:3]
        if not videos:  # not accepted by torchmetrics
            return {"mAP": math.nan, "top1": math.nan, "videos": 0}, None
        return {
            "mAP": float(self._average_precision()[of_class > 0].mean()),
            "top1": float(right.double() / videos),
            "videos": int(videos),
        }, None

    def per_class(self) -> PerClass:
        """Return the metrics of each class, of which a video is predicted to show those of a score of at least 0.5."""
        _, videos, of_class, predicted, right = self._counts.compute()
        average = self._average_precision() if videos else torch.full_like(of_class, math.nan)
        return per_class_metrics(
            right, of_class=of_class, predicted=predicted, average_precision=average.where(of_class > 0, math.nan)
        )

    def _average_precision(self) -> Tensor:
        """Return the average precision of each class, (classes,), of no meaning where it does not occur."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No positive samples")
            precision: Tensor = self._precision.compute()
        return precision


class _Counts(Metric):
    """Numbers of correct top-1 predictions and of videos; per class, of videos, of predictions, and of correct ones."""

    right: Tensor
    videos: Tensor
    of_class: Tensor
    predicted: Tensor
    right_of_class: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(()), "sum")
        self.add_state("videos", torch.zeros(()), "sum")
        for name in ("of_class", "predicted", "right_of_class"):
            self.add_state(name, torch.zeros(num_classes), "sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.right += right_answers(scores, targets, threshold=0.5).sum()
        self.videos += len(targets)
        self.of_class += targets.sum(0)
        self.predicted += (scores >= 0.5).sum(0)
        self.right_of_class += ((scores >= 0.5) * targets).sum(0)

    def compute(self) -> tuple[Tensor, ...]:
        return self.right, self.videos, self.of_class, self.predicted, self.right_of_class
