"""ImageNet weights from torchvision, for ResNet backbones; 3D ones get them inflated."""

import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.models.backbone import Backbone
from kinema.models.foreign import foreign_names
from kinema.models.recognizer import Recognizer

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


def load_imagenet(backbone: Backbone) -> None:
    """Fill a ResNet with torchvision's `IMAGENET1K_V1` weights of its depth; a 3D one as `fill_from_2d` says.

    Raises:
        UserError: The backbone's width is not 64, or the weights cannot be had.
    """
    if backbone.width != 64:
        raise UserError(
            f"model.pretrained: ImageNet weights exist for model.width 64 only, found {backbone.width}; "
            "train from scratch with --model.pretrained none"
        )
    fill_from_2d(backbone, imagenet_weights(f"ResNet{backbone.depth}"))


def imagenet_weights(network: str) -> Mapping[str, Tensor]:
    """Return torchvision's `IMAGENET1K_V1` weights of a network such as `ResNet50`.

    They are downloaded into torch's hub cache once.

    Raises:
        UserError: The weights cannot be had.
    """
    from torchvision.models import get_weight

    weights = get_weight(f"{network}_Weights.IMAGENET1K_V1")
    with downloading(weights, network):
        return weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)


@contextmanager
def downloading(weights: "WeightsEnum", network: str) -> Iterator[None]:
    """Announce the download of torchvision's weights on stderr, and say what to do where it fails.

    Raises:
        UserError: The weights cannot be had.
    """
    try:
        with redirect_stdout(sys.stderr):  # where torch announces a download; stdout is for answers
            yield
    except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
        raise UserError(
            f"model.pretrained: cannot get ImageNet weights of {network} from {weights.url}: {error}. "
            f"Put that file at {file} by hand (TORCH_HOME moves the folder), "
            "or train from scratch with --model.pretrained none"
        ) from error


def fill_from_2d(backbone: Backbone, state_dict: Mapping[str, Tensor]) -> None:
    """Fill `backbone` with the weights of torchvision's 2D ResNet of the same depth and width, all but its classifier.

    Each kernel is repeated over time and divided by the repeats, so that a clip of one repeated image has the image's
    features away from the clip's ends (Carreira & Zisserman, 2017, section 2.4). A stem for flow gets the mean of the
    kernels for red, green and blue in each of its channels (Wang et al., 2016, section 3.3). Layers that a 2D network
    lacks (non-local blocks) are unchanged.
    """
    own = backbone.state_dict()
    weights = {key: _inflated(value, own[key]) for key, value in state_dict.items() if not key.startswith("fc.")}
    backbone.load_state_dict(own | weights)


def inflated_state_dict(model: Recognizer, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of torchvision's 2D ResNets for `load_foreign_state_dict(model, …, source="torchvision")`.

    Kernels are inflated as `fill_from_2d` says; the classifier is kept. Other weights are returned unchanged.
    """
    own, names = model.state_dict(), foreign_names(model, "torchvision")
    places = {key.removeprefix("backbone."): key for key in own}
    weights = {}
    for name, value in state_dict.items():
        if name not in places:
            weights[name] = value
        else:
            like = own[places[name]]
            weights[names[places[name]]] = _inflated(value, like) if _alike_in_space(value, like) else value
    return weights


def _alike_in_space(weight: Tensor, like: Tensor) -> bool:
    """Return whether a 2D kernel has the height, width and channels of `like`, or RGB input channels instead."""
    sizes = [(tensor.shape[0], *tensor.shape[-2:]) for tensor in (weight, like) if tensor.dim() >= 4]
    return weight.dim() == 4 and sizes[1:] == sizes[:1] and weight.shape[1] in (3, like.shape[1])


def _inflated(weight: Tensor, like: Tensor) -> Tensor:
    if weight.dim() == 4 and weight.shape[1] != like.shape[1]:
        weight = weight.mean(dim=1, keepdim=True).expand(-1, like.shape[1], -1, -1)
    return weight.unsqueeze(2).expand_as(like) / like.shape[2] if like.dim() == 5 else weight
