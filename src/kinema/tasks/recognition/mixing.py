"""Clips and labels mixed within a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019)."""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2


def mixed(clips: Tensor, labels: Tensor, *, num_classes: int, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Each clip mixed with its neighbour in the batch, in a proportion drawn from torch's generator for all.

    Args:
        clips: (N, C, T, H, W) normalised.
        labels: (N,) int64; or (N, num_classes) float32, 1 for each class that a clip shows.
        num_classes: length of a label's vector.
        mixup: alpha, of the Beta(alpha, alpha) that the proportion is drawn from; 0: no mixup.
        cutmix: the same for CutMix, which shows the neighbour in one box of all frames. With both, chance decides.

    Returns:
        The clips, and the labels mixed in the same proportion, (N, num_classes) float32.
    """
    ways: list[v2.Transform] = []
    if mixup:
        ways.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
    if cutmix:
        ways.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
    together, targets = v2.RandomChoice(ways)(tv_tensors.Video(clips), labels)
    # torchvision leaves the channels-last memory in which clips come.
    return together.as_subclass(Tensor).contiguous(memory_format=torch.channels_last_3d), targets
