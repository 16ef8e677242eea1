"""What recognition asks of a model: a loss in training, averaged scores in testing."""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinema.data.batch import Batch
from kinema.data.lists.index import Labels
from kinema.models import Recognizer
from kinema.tasks.recognition.mixing import mixed
from kinema.tasks.recognition.multi_label import binary_cross_entropy, multi_hot, right_answers


@dataclass(kw_only=True)
class RecognitionOptions:
    """How a recognizer is trained and how its views are averaged."""

    labels: Labels = "single"
    """A video shows one class (single: softmax and cross-entropy, top-1), or any number of them (multi: sigmoid and
    binary cross-entropy, mean average precision), and its list says so."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the target that the loss takes from the true classes and spreads over all (Szegedy et al. 2016)."""
    mixup: Annotated[float, Ge(0)] = 0.0
    """Alpha of mixup, which overlays two clips and their labels (Zhang et al. 2018); 0.2–0.8 is usual, 0: none."""
    cutmix: Annotated[float, Ge(0)] = 0.0
    """Alpha of CutMix, which shows another clip in a box (Yun et al. 2019); 1 is usual, 0: none."""
    average: Literal["score", "prob", "max"] = "prob"
    """What a video's score is over its views: the mean of logits (score) or of probabilities (prob); or, where any
    number of classes may occur, the highest probability (max), as an action fills a part of the video only."""

    def __post_init__(self) -> None:
        if self.average == "max" and self.labels == "single":
            raise ValueError("average max, by which scores do not sum to 1, is for labels multi")


def training_loss(model: nn.Module, batch: Batch, options: RecognitionOptions) -> tuple[Tensor, Tensor]:
    """Mean loss over the clips of a batch, and how many of them have the right top-1 answer (both scalars).

    The loss is cross-entropy or, for any number of labels, binary cross-entropy, a mean over the classes too. The
    answer is right that names the class, or one of several; of a mixed clip the one that names its larger part.
    """
    clips, labels = as_clips(batch.clips), batch.labels.repeat_interleave(batch.clips.shape[1], dim=0)
    multi, mixing = options.labels == "multi", bool(options.mixup or options.cutmix)
    if mixing:
        recognizer = cast(Recognizer, model.module if isinstance(model, DistributedDataParallel) else model)
        num_classes = recognizer.head.out_features
        clips, targets = mixed(
            recognizer.normalize(clips),
            multi_hot(labels, num_classes) if multi else labels,
            num_classes=num_classes,
            mixup=options.mixup,
            cutmix=options.cutmix,
        )
    logits = model(clips).float()
    if multi:
        targets = targets if mixing else multi_hot(labels, logits.shape[1])
        loss = binary_cross_entropy(logits, targets, label_smoothing=options.label_smoothing)
        return loss, right_answers(logits, targets, threshold=0).sum()
    loss = F.cross_entropy(logits, targets if mixing else labels, label_smoothing=options.label_smoothing)
    return loss, (logits.argmax(1) == (targets.argmax(1) if mixing else labels)).sum()


def video_scores(model: nn.Module, clips: Tensor, options: RecognitionOptions, *, frames_at_once: int = 512) -> Tensor:
    """Class probabilities of videos over all of their views.

    Args:
        model: a recognizer in eval mode.
        clips: (B, V, T, C, H, W) uint8.
        options: says what is averaged.
        frames_at_once: frames in a forward pass, of one view at least, which bounds the memory of many views.

    Returns:
        (B, classes) float32; each row sums to 1, but where any number of classes may occur.
    """
    views = as_clips(clips)
    together = max(1, frames_at_once // views.shape[2])
    logits = torch.cat([model(part) for part in views.split(together)]).float()
    logits = logits.unflatten(0, clips.shape[:2])
    if options.average == "score":
        logits = logits.mean(1, keepdim=True)
    probabilities = logits.softmax(-1) if options.labels == "single" else logits.sigmoid()
    return probabilities.amax(1) if options.average == "max" else probabilities.mean(1)


def as_clips(clips: Tensor) -> Tensor:
    """(B, V, T, C, H, W) → (B · V, C, T, H, W), what models take, without a copy."""
    return clips.flatten(0, 1).transpose(1, 2)
