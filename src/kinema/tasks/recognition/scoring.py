"""Loss of clips and scores of videos."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinema.data.batch import Batch
from kinema.errors import UserError
from kinema.models import Recognizer
from kinema.tasks.recognition.mixing import mixed
from kinema.tasks.recognition.multi_label import binary_cross_entropy, multi_hot, right_answers
from kinema.tasks.recognition.options import RecognitionOptions


def training_loss(model: nn.Module, batch: Batch, options: RecognitionOptions) -> tuple[Tensor, Tensor]:
    """Mean loss over the clips of a batch, and how many of them have the right top-1 answer (both scalars).

    The loss is cross-entropy or, for any number of labels, binary cross-entropy, a mean over the classes too. The
    answer is right that names the class, or one of several; of a mixed clip the one that names its larger part.
    """
    clips, labels = as_clips(batch.clips), batch.labels.repeat_interleave(batch.clips.shape[1], dim=0)
    multi, mixing = options.labels == "multi", bool(options.mixup or options.cutmix)
    if mixing:
        recognizer = cast(Recognizer, model.module if isinstance(model, DistributedDataParallel) else model)
        if not hasattr(recognizer, "normalize"):
            raise UserError("--task.mixup and --task.cutmix need a model with a method normalize(clips)")
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
