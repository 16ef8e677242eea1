"""Image networks of timm."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import MissingPackage, UserError, did_you_mean
from kinema.models.image_networks.network import Traits, scaled

_FIRST_CONVOLUTIONS = {
    "BasicBlock": ("conv1",),
    "Bottleneck": ("conv1",),
    "InvertedResidual": ("conv_pw",),
    "EdgeResidual": ("conv_exp",),
    "UniversalInvertedResidual": ("dw_start", "pw_exp"),
    "ConvNeXtBlock": ("conv_dw",),
}
"""Class of residual blocks → layers that the residual branch may begin with: the first that has weights does."""


def timm_network(name: str) -> tuple[nn.Module, Traits]:
    """Return a network of timm without its classifier, with random weights, and its traits.

    Vision transformers take pictures of other sizes than their own.

    Raises:
        UserError: timm is not installed, or has no such network.
    """
    timm = _timm()
    if not timm.is_model(name):
        raise UserError(
            f"--model.backbone timm:{name}: timm has no such network{did_you_mean(name, timm.list_models())}"
        )
    try:
        module = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:  # all but vision transformers
        module = timm.create_model(name, num_classes=0)
    config = module.pretrained_cfg
    _, height, width = config["input_size"]
    fixed = config.get("fixed_input_size") and not getattr(module, "dynamic_img_size", False)
    traits = Traits(
        out_channels=_out_channels(module),
        classifier=str(config["classifier"]),
        normalization=scaled(config["mean"], config["std"]),
        size=(height, width) if fixed else None,
        layer_groups=_layer_groups,
        first_convolution=_first_convolution,
        shifting=tuple(_FIRST_CONVOLUTIONS),
        download=partial(_download, name),
    )
    return module, traits


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage("--model.backbone timm:NAME needs timm: pip install 'kinema[timm]'") from error
    return timm


def _download(name: str) -> Mapping[str, Tensor]:
    try:
        network = _timm().create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # timm and the hub raise errors of many kinds
        raise UserError(
            f"--model.pretrained timm: cannot get timm's weights of {name}: {error}; pass a file, or none"
        ) from error
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


def _out_channels(network: Any) -> int:
    with torch.no_grad():
        picture = torch.empty(1, *network.pretrained_cfg["input_size"], device="meta")
        features: Tensor = deepcopy(network).to("meta").eval()(picture)
    return features.shape[1]


def _layer_groups(network: Any) -> list[list[nn.Module]]:
    """The stem, the stages, and layers after them, as timm groups them."""
    from timm.models import group_modules

    groups = group_modules(network, network.group_matcher(coarse=True)).values()
    layers = [[network.get_submodule(path) for path in _outermost(group)] for group in groups]
    own = [*network.parameters(recurse=False)]  # class token and positions
    return [[*([nn.ParameterList(own)] if own else []), *layers[0]], *layers[1:]]


def _outermost(paths: Sequence[str]) -> list[str]:
    """Paths of modules that are in none of the others."""
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]


def _first_convolution(block: nn.Module) -> str | None:
    if not getattr(block, "has_skip", True):
        return None
    names = _FIRST_CONVOLUTIONS.get(type(block).__name__, ())
    return next((name for name in names if [*block.get_submodule(name).parameters()]), None)
