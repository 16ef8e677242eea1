"""What the tests of conversion share: small networks, and weights for them."""

from dataclasses import replace

import torch
from torch import Tensor

from kinema.models import RecognizerOptions
from kinema.models.foreign import foreign_state_dict
from kinema.models.tsn import TSNOptions
from kinema.recipes import config_of
from kinema.weights.model_files import AnyDescription


def tiny(options: RecognizerOptions) -> dict[str, AnyDescription]:
    """A recipe whose network is small."""
    described = config_of("tsm_r18_video_1x1x8_small_rgb").describe()
    return {"tiny": replace(described, model=options)}


def filled(options: RecognizerOptions) -> dict[str, Tensor]:
    """Weights under MMAction2's names, none of them as initialised."""
    torch.manual_seed(0)
    model = options.build()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.normal_().abs_()
    return foreign_state_dict(model, source="mmaction2")


TINY = TSNOptions(depth=18, width=8, num_classes=3, pretrained="none")


def candidates(*names: str) -> dict[str, AnyDescription]:
    return {name: config_of(name).describe() for name in names}
