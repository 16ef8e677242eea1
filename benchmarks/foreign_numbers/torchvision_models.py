"""Networks of torchvision."""

from collections.abc import Iterator

import torch
import torchvision
from benchmarks.foreign_numbers.cases import CLASSES, Case, case, fill
from tests.models import parity


def cases() -> Iterator[Case]:
    from torchvision.models import get_model, get_model_weights, video

    for name in ("r2plus1d_18", "r3d_18", "mc3_18"):
        model = video.__dict__[name](num_classes=CLASSES)
        shapes = fill(model)
        preset = get_model_weights(name).DEFAULT.transforms()
        pixels = parity.pixels(3, 16, 64).float() / 255
        mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (preset.mean, preset.std))
        yield case(name, 16, shapes, model((pixels - mean) / std))
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        model = get_model(name, num_classes=CLASSES)
        shapes = fill(model)
        preset = get_model_weights(name).IMAGENET1K_V1.transforms()
        normalize = torchvision.transforms.Normalize(preset.mean, preset.std)
        frames = normalize(parity.pixels(3, 1, 64)[:, :, 0].float() / 255)
        yield case(name, 1, shapes, model(frames))
