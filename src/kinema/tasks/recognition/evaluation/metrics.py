"""Metrics of video scores over all processes of a distributed run."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kinema.data.kinds import LabelMode
from kinema.tasks.recognition.evaluation.per_class import PerClass, per_class_metrics
from kinema.training.parallel.distributed import sum_over_processes

if TYPE_CHECKING:
    from kinema.tasks.recognition.evaluation.multi_label import MultiLabelMetrics


class SingleLabelMetrics:
    """top-1, top-5, mean-class accuracy and the confusion matrix, over all processes of a distributed run.

    Counted here: importing torchmetrics takes two thirds of the time in which a training starts, and 280 MiB.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._top5 = torch.zeros((), dtype=torch.int64, device=device)
        self._confusion = torch.zeros((num_classes, num_classes), dtype=torch.int64, device=device)

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add scores (B, classes) and labels (B,) of videos."""
        best = scores.topk(min(5, scores.shape[1])).indices
        self._top5 += (best == labels[:, None]).sum()
        cells = labels * scores.shape[1] + scores.argmax(1)
        self._confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Fractions `top1`, `top5`, `mean_class` and the count `videos`; and the confusion matrix.

        mean_class is the mean over the classes that occur of the fraction of their videos that are recognized. The
        matrix (classes, classes) int64 counts videos by true (row) and predicted class (column).
        """
        confusion = sum_over_processes(self._confusion).cpu()
        top5 = sum_over_processes(self._top5).cpu()
        of_class = confusion.sum(1)
        right = confusion.diagonal()
        occurs = of_class > 0
        videos = of_class.sum()
        metrics = {
            "top1": (right.sum().double() / videos).item(),
            "top5": (top5.double() / videos).item(),
            "mean_class": (right[occurs].double() / of_class[occurs]).mean().item(),
            "videos": int(videos),
        }
        return metrics, confusion

    def per_class(self) -> PerClass:
        """Return the metrics of each class."""
        confusion = sum_over_processes(self._confusion).cpu()
        return per_class_metrics(confusion.diagonal(), of_class=confusion.sum(1), predicted=confusion.sum(0))


def recognition_metrics(
    labels: LabelMode, num_classes: int, device: torch.device
) -> "SingleLabelMetrics | MultiLabelMetrics":
    """Return the metrics of single-label or multi-label videos."""
    if labels == "single":
        return SingleLabelMetrics(num_classes, device)
    from kinema.tasks.recognition.evaluation.multi_label import MultiLabelMetrics

    return MultiLabelMetrics(num_classes, device)
