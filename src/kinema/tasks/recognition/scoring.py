"""Scores of videos from the logits of their views, and targets of multi-label videos."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.tasks.recognition.settings import RecognitionSettings


def view_logits(model: nn.Module, clips: Tensor, *, frames_at_once: int | None = None) -> Tensor:
    """Return the logits of all views of videos, (B, V, classes) float32.

    Args:
        model: a recognizer in eval mode.
        clips: (B, V, T, C, H, W) uint8; or what the model takes of each view, (B, V, …).
        frames_at_once: frames per forward pass, at least one view; limits the memory of many views. None: by device.
    """
    logits = in_parts(model, as_clips(clips), frames_at_once=frames_at_once).float()
    return logits.unflatten(0, clips.shape[:2])


def video_scores(logits: Tensor, options: RecognitionSettings) -> Tensor:
    """Return the class probabilities of videos from the logits of their views.

    Args:
        logits: (B, V, classes) float32.
        options: how the views are averaged.

    Returns:
        (B, classes) float32. Single-label rows sum to 1.
    """
    logits = logits / options.temperature
    if options.average == "score":
        logits = logits.mean(1, keepdim=True)
    probabilities = logits.softmax(-1) if options.labels == "single" else logits.sigmoid()
    return probabilities.amax(1) if options.average == "max" else probabilities.mean(1)


def video_losses(logits: Tensor, labels: Tensor, options: RecognitionSettings) -> Tensor:
    """Return the cross-entropy of each video's scores with its labels, (B,).

    Of multi-label videos, it is the mean binary cross-entropy over the classes. It is computed from logits, as a
    probability may round to 0. Label smoothing and other options of the training loss have no part in it.

    Args:
        logits: of the views, (B, V, classes) float32.
        labels: (B,) int64; or (B, L) int64, rows padded with -1.
        options: how the views are averaged; see `video_scores`.
    """
    logits = logits / options.temperature
    if options.average == "score":
        logits = logits.mean(1, keepdim=True)
    elif options.average == "max":
        logits = logits.amax(1, keepdim=True)
    views = math.log(logits.shape[1])
    if options.labels == "single":
        return F.nll_loss(logits.log_softmax(-1).logsumexp(1) - views, labels, reduction="none")
    present, absent = (F.logsigmoid(signed).logsumexp(1) - views for signed in (logits, -logits))
    targets = multi_hot(labels, logits.shape[-1])
    return -(targets * present + (1 - targets) * absent).mean(1)


_FRAMES_AT_ONCE = {"cpu": 64}
"""By kind of device, else 512. A CPU is no faster with more, and its heap would keep their activations' memory."""


def in_parts(compute: Callable[[Tensor], Tensor], clips: Tensor, *, frames_at_once: int | None = None) -> Tensor:
    """Return `compute(clips)` of (N, C, T, H, W), in parts of at most so many frames, at least one clip.

    Their default number depends on the device.
    """
    frames_at_once = frames_at_once or _FRAMES_AT_ONCE.get(clips.device.type, 512)
    batch_size = max(1, frames_at_once // clips.shape[2]) if clips.ndim == 5 else len(clips)
    return torch.cat([compute(part) for part in clips.split(batch_size)])


def as_clips(clips: Tensor) -> Tensor:
    """Reshape (B, V, T, C, H, W) to the (B · V, C, T, H, W) that models take, without a copy; features (B, V, …) to
    (B · V, …).
    """
    views = clips.flatten(0, 1)
    return views.transpose(1, 2) if clips.ndim == 6 else views


def multi_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Convert class indices (N, L) int64, rows padded with -1, to multi-hot vectors (N, num_classes) float32."""
    padded = labels.where(labels >= 0, num_classes)  # an extra class, which is then dropped
    return labels.new_zeros((len(labels), num_classes + 1), dtype=torch.float32).scatter_(1, padded, 1)[:, :-1]


def right_answers(scores: Tensor, targets: Tensor, *, threshold: float) -> Tensor:
    """Return whether the top-1 prediction of each row is one of its classes, (N,) bool.

    With a single class, return whether `scores` and the target are on the same side of `threshold`.

    Args:
        scores: (N, classes) probabilities or logits.
        targets: (N, classes) float32, 0 to 1.
        threshold: score from which a single class counts as present.
    """
    if scores.shape[1] == 1:
        return ((scores >= threshold) == (targets >= 0.5))[:, 0]
    return targets.gather(1, scores.argmax(1, keepdim=True))[:, 0] >= 0.5
