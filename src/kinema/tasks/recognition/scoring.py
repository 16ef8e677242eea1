"""Scores of videos from the logits of their views, and targets of multi-label videos."""

import torch
from torch import Tensor, nn

from kinema.tasks.recognition.options import RecognitionOptions


def video_scores(model: nn.Module, clips: Tensor, options: RecognitionOptions, *, frames_at_once: int = 512) -> Tensor:
    """Return the class probabilities of videos over all of their views.

    Args:
        model: a recognizer in eval mode.
        clips: (B, V, T, C, H, W) uint8.
        options: how the views are averaged.
        frames_at_once: frames per forward pass, at least one view; limits the memory of many views.

    Returns:
        (B, classes) float32. Single-label rows sum to 1.
    """
    views = as_clips(clips)
    batch_size = max(1, frames_at_once // views.shape[2])
    logits = torch.cat([model(part) for part in views.split(batch_size)]).float()
    logits = logits.unflatten(0, clips.shape[:2])
    if options.average == "score":
        logits = logits.mean(1, keepdim=True)
    probabilities = logits.softmax(-1) if options.labels == "single" else logits.sigmoid()
    return probabilities.amax(1) if options.average == "max" else probabilities.mean(1)


def as_clips(clips: Tensor) -> Tensor:
    """Reshape (B, V, T, C, H, W) to the (B · V, C, T, H, W) that models take, without a copy."""
    return clips.flatten(0, 1).transpose(1, 2)


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
