"""Videos of which each shows any number of classes: targets and loss."""

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Class indices (N, L) int64, rows filled up with -1 → (N, num_classes) float32: 1 for each class of a row."""
    # What fills up goes to a class of its own, which is then dropped.
    places = labels.where(labels >= 0, num_classes)
    return labels.new_zeros((len(labels), num_classes + 1), dtype=torch.float32).scatter_(1, places, 1)[:, :-1]


def right_answers(scores: Tensor, targets: Tensor, *, threshold: float) -> Tensor:
    """Where the best answer is right, (N,) bool: the highest score is that of a class of the row.

    Of one class alone, where the answer is yes or no, it is right when `scores` is on the target's side of `threshold`.

    Args:
        scores: (N, classes) probabilities or logits.
        targets: (N, classes) float32, 0 to 1.
        threshold: from which score on a class is rather there than not.
    """
    if scores.shape[1] == 1:
        return ((scores >= threshold) == (targets >= 0.5))[:, 0]
    return targets.gather(1, scores.argmax(1, keepdim=True))[:, 0] >= 0.5


def binary_cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """Mean over clips and classes of the binary cross-entropy (a scalar), each class a question of its own.

    Args:
        logits: (N, classes) float32.
        targets: (N, classes) float32, 0 to 1.
        label_smoothing: ε in (1 - ε) · target + ε / classes.
    """
    smoothed = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    return F.binary_cross_entropy_with_logits(logits, smoothed)
