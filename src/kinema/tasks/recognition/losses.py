"""Training loss of a recognizer, with mixup and CutMix."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.models import Recognizer
from kinema.models.capabilities import HasHead, require
from kinema.tasks.recognition.scoring import as_clips, multi_hot, right_answers
from kinema.tasks.recognition.settings import RecognitionSettings


def training_loss(
    model: nn.Module, batch: Batch[Tensor], options: RecognitionSettings, class_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the mean loss of a batch's clips and the number of correct top-1 predictions (both scalars).

    The loss is the cross-entropy or, of multi-label clips, the binary cross-entropy; or their focal losses. A
    prediction is correct if it is the clip's class, or one of several; of a mixed clip, the class with the larger
    share.

    Args:
        model: a recognizer, or its DDP wrapper.
        batch: clips and labels.
        options: loss, label smoothing, mixing.
        class_weights: (classes,), see `RecognitionSettings.class_weights`.
    """
    clips, labels = as_clips(batch.inputs), batch.targets.repeat_interleave(batch.inputs.shape[1], dim=0)
    multi, mixing = options.labels == "multi", bool(options.mixup or options.cutmix)
    if mixing:
        recognizer = cast(Recognizer, model.module if isinstance(model, DistributedDataParallel) else model)
        if not hasattr(recognizer, "normalize"):
            raise UserError("--task.mixup and --task.cutmix need a model with a method normalize(clips)")
        num_classes = require(recognizer, HasHead, "--task.mixup or --task.cutmix").head.out_features
        clips, targets = mix_clips(
            recognizer.normalize(clips),
            multi_hot(labels, num_classes) if multi else labels,
            num_classes=num_classes,
            mixup=options.mixup,
            cutmix=options.cutmix,
        )
    logits = model(clips).float()
    if multi:
        targets = targets if mixing else multi_hot(labels, logits.shape[1])
        smoothed = targets * (1 - options.label_smoothing) + options.label_smoothing / targets.shape[1]
        if options.loss == "focal":
            loss = binary_focal_loss(
                logits, smoothed, gamma=options.focal_gamma, alpha=options.focal_alpha, class_weights=class_weights
            )
        else:
            loss = F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=class_weights)
        return loss, right_answers(logits, targets, threshold=0).sum()
    wanted, smoothing = targets if mixing else labels, options.label_smoothing
    if options.loss == "focal":
        loss = softmax_focal_loss(
            logits, wanted, gamma=options.focal_gamma, label_smoothing=smoothing, class_weights=class_weights
        )
    else:
        loss = F.cross_entropy(logits, wanted, weight=class_weights, label_smoothing=smoothing)
    return loss, (logits.argmax(1) == (targets.argmax(1) if mixing else labels)).sum()


def softmax_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean focal loss of clips that show one class (Lin et al., ICCV 2017, equation 4, over a softmax).

    Args:
        logits: (N, classes).
        targets: (N,) int64; or (N, classes) float32, whose rows sum to 1.
        gamma: exponent of 1 - p; with 0 it is the cross-entropy.
        label_smoothing: share of the targets that is spread over all classes.
        class_weights: (classes,), by which the mean is weighted, too.
    """
    num_classes = logits.shape[1]
    if targets.ndim == 1:
        targets = F.one_hot(targets, num_classes).to(logits.dtype)
    targets = targets * (1 - label_smoothing) + label_smoothing / num_classes
    if class_weights is not None:
        targets = targets * class_weights
    logs = logits.log_softmax(1)
    return -(targets * (1 - logs.exp()) ** gamma * logs).sum() / targets.sum()


def binary_focal_loss(
    logits: Tensor, targets: Tensor, *, gamma: float, alpha: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean focal loss of clips that show any number of classes (Lin et al., ICCV 2017, equation 5).

    Args:
        logits: (N, classes).
        targets: (N, classes) float32, 0 to 1.
        gamma: exponent of 1 - p.
        alpha: weight of what is shown; of the rest 1 - alpha. 0: both are 1.
        class_weights: (classes,), weights of the classes where they are shown.
    """
    from torchvision.ops import sigmoid_focal_loss

    loss: Tensor = sigmoid_focal_loss(logits, targets, alpha=alpha or -1, gamma=gamma, reduction="none")
    if class_weights is not None:
        loss = loss * (targets * class_weights + 1 - targets)
    return loss.mean()


def mix_clips(clips: Tensor, labels: Tensor, *, num_classes: int, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Mix each clip with its neighbor in the batch: mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019).

    Args:
        clips: (N, C, T, H, W) normalized.
        labels: (N,) int64; or (N, num_classes) float32, multi-hot.
        num_classes: number of classes.
        mixup: alpha of mixup, whose proportion is drawn from Beta(alpha, alpha) for the whole batch; 0: no mixup.
        cutmix: alpha of CutMix, whose box is the same in all frames; 0: no CutMix. With both, one is drawn at random.

    Returns:
        The clips, and the labels mixed in the same proportion, (N, num_classes) float32.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    transforms: list[v2.Transform] = []
    if mixup:
        transforms.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
    if cutmix:
        transforms.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
    mixed, targets = v2.RandomChoice(transforms)(tv_tensors.Video(clips), labels)
    # torchvision returns contiguous clips: restore channels-last.
    return mixed.as_subclass(Tensor).contiguous(memory_format=torch.channels_last_3d), targets
