"""ImageNet weights for ResNet backbones, from torchvision."""

import pickle
import sys
from http.client import HTTPException
from pathlib import Path

import torch
from torchvision.models import get_weight

from kinema.errors import UserError
from kinema.models.resnet import ResNet


def load_imagenet(backbone: ResNet) -> None:
    """Fill `backbone` with torchvision's `IMAGENET1K_V1` weights of its depth, downloaded into torch's hub cache once.

    Raises:
        UserError: The backbone's width is not 64, or the weights cannot be had.
    """
    if backbone.width != 64:
        raise UserError(
            f"model.pretrained: ImageNet weights exist for model.width 64 only, found {backbone.width}; "
            "train from scratch with --model.pretrained none"
        )
    weights = get_weight(f"ResNet{backbone.depth}_Weights.IMAGENET1K_V1")
    try:
        state_dict = weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
        raise UserError(
            f"model.pretrained: cannot get ImageNet weights for ResNet-{backbone.depth} from {weights.url}: {error}. "
            f"Put that file at {file} by hand (TORCH_HOME moves the folder), "
            "or train from scratch with --model.pretrained none"
        ) from error
    backbone.load_state_dict({key: value for key, value in state_dict.items() if not key.startswith("fc.")})
