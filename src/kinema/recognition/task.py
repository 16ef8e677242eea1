"""What recognition asks of a model: a loss in training, averaged scores and their metrics in testing."""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from kinema.data.batch import Batch
from kinema.models import Recognizer
from kinema.recognition.mixing import mixed


@dataclass(kw_only=True)
class RecognitionOptions:
    """How a recognizer is trained and how its views are averaged."""

    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Probability mass that the loss takes from the true class and spreads over all (Szegedy et al. 2016)."""
    mixup: Annotated[float, Ge(0)] = 0.0
    """Alpha of mixup, which overlays two clips and their labels (Zhang et al. 2018); 0.2–0.8 is usual, 0: none."""
    cutmix: Annotated[float, Ge(0)] = 0.0
    """Alpha of CutMix, which shows another clip in a box (Yun et al. 2019); 1 is usual, 0: none."""
    average: Literal["score", "prob"] = "prob"
    """What is averaged over a video's views: logits (score) or probabilities (prob)."""


def training_loss(model: nn.Module, batch: Batch, options: RecognitionOptions) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over the clips of a batch, and how many of them have the right top-1 answer (both scalars).

    Of a mixed clip the answer is right that names its larger part.
    """
    clips, labels = as_clips(batch.clips), batch.labels.repeat_interleave(batch.clips.shape[1])
    targets = labels
    if options.mixup or options.cutmix:
        recognizer = cast(Recognizer, model.module if isinstance(model, DistributedDataParallel) else model)
        clips, targets = mixed(
            recognizer.normalize(clips),
            labels,
            num_classes=recognizer.fc.out_features,
            mixup=options.mixup,
            cutmix=options.cutmix,
        )
        labels = targets.argmax(1)
    logits = model(clips).float()
    loss = F.cross_entropy(logits, targets, label_smoothing=options.label_smoothing)
    return loss, (logits.argmax(1) == labels).sum()


def video_scores(model: nn.Module, clips: Tensor, options: RecognitionOptions, *, frames_at_once: int = 512) -> Tensor:
    """Class probabilities of videos, averaged over their views.

    Args:
        model: a recognizer in eval mode.
        clips: (B, V, T, C, H, W) uint8.
        options: says what is averaged.
        frames_at_once: frames in a forward pass, of one view at least, which bounds the memory of many views.

    Returns:
        (B, classes) float32; each row sums to 1.
    """
    views = as_clips(clips)
    together = max(1, frames_at_once // views.shape[2])
    logits = torch.cat([model(part) for part in views.split(together)]).float()
    logits = logits.unflatten(0, clips.shape[:2])
    return logits.mean(1).softmax(-1) if options.average == "score" else logits.softmax(-1).mean(1)


def as_clips(clips: Tensor) -> Tensor:
    """(B, V, T, C, H, W) → (B · V, C, T, H, W), what models take, without a copy."""
    return clips.flatten(0, 1).transpose(1, 2)


class RecognitionMetrics:
    """top-1, top-5, mean-class accuracy and the confusion matrix, over all processes of a distributed run."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        top5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro")
        self._top5 = top5.to(device)
        self._confusion = MulticlassConfusionMatrix(num_classes).to(device)

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Count videos by their scores (B, classes) and labels (B,)."""
        self._top5.update(scores, labels)
        self._confusion.update(scores, labels)

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Fractions `top1`, `top5`, `mean_class` and the count `videos`; and the confusion matrix.

        mean_class is the mean over the classes that occur of the fraction of their videos that are recognised. The
        matrix (classes, classes) int64 counts videos by true (row) and predicted class (column).
        """
        confusion = self._confusion.compute()
        of_class = confusion.sum(1)
        right = confusion.diagonal()
        occurs = of_class > 0
        metrics = {
            "top1": (right.sum() / of_class.sum()).item(),
            "top5": float(self._top5.compute()),
            "mean_class": (right[occurs] / of_class[occurs]).mean().item(),
            "videos": int(of_class.sum()),
        }
        return metrics, confusion.cpu()
