"""Image networks of torchvision."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kinema.errors import UserError, did_you_mean
from kinema.models.image_networks.network import Traits, blocks_in, scaled
from kinema.models.pretrained import downloading

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

_BRANCHES = {
    "BasicBlock": ("conv1",),
    "Bottleneck": ("conv1",),
    "ResBottleneckBlock": ("f",),
    "InvertedResidual": ("conv", "block"),
    "MBConv": ("block",),
    "FusedMBConv": ("block",),
    "CNBlock": ("block",),
}
"""Class of residual blocks → names that the residual branch, or its first layer, may have."""

_TRUNKS = ("features", "trunk_output", "encoder", "layers", "blocks")
"""Names of modules that hold the stages or blocks, and sometimes the stem."""

_REFUSED = ("alexnet", "googlenet", "inception_v3", "mnasnet", "squeezenet", "vgg")
"""Beginnings of the names of networks that have no blocks, further classifiers, or, MNASNet, a versioned state dict."""


def torchvision_network(name: str) -> tuple[nn.Module, Traits]:
    """Return a network of torchvision without its classifier, with random weights, and its traits.

    Raises:
        UserError: torchvision has no such network.
    """
    import torchvision
    from torchvision.models import get_model, get_model_weights, list_models

    names = list_models(torchvision.models)
    if name not in names:
        raise UserError(
            f"--model.backbone torchvision:{name}: torchvision has no such network of images{did_you_mean(name, names)}"
        )
    if name.startswith(_REFUSED):
        raise UserError(
            f"--model.backbone torchvision:{name}: AlexNet, GoogLeNet, Inception, MNASNet, SqueezeNet and VGG cannot "
            "be backbones; choose another network of torchvision, or timm:NAME"
        )
    device = torch.empty(0).device
    weights: WeightsEnum = get_model_weights(name).DEFAULT
    size = weights.meta["min_size"] if name.startswith(("vit_", "maxvit_")) else None
    options = {"image_size": size[0]} if size and name.startswith("vit_") else {}
    # RegNets compute their widths with tensors, which have no values on a meta device.
    with torch.device("cpu") if name.startswith("regnet") else nullcontext():
        module = get_model(name, **options).to(device)
    classifier, out_channels = _without_classifier(module)
    preset = weights.transforms()
    traits = Traits(
        out_channels=out_channels,
        classifier=classifier,
        normalization=scaled(preset.mean, preset.std),
        size=size,
        layer_groups=_layer_groups,
        first_convolution=_first_convolution,
        shifting=tuple(_BRANCHES),
        download=partial(_download, name, weights),
    )
    return module, traits


def _without_classifier(module: nn.Module) -> tuple[str, int]:
    """Remove the last linear layer and the dropout before it; return the layer's path and its input channels."""
    path, linear = [(path, layer) for path, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent_path, _, leaf = path.rpartition(".")
    parent = module.get_submodule(parent_path)
    setattr(parent, leaf, nn.Identity())
    if parent is not module:
        before = str(int(leaf) - 1) if leaf.isdigit() else ""
        if isinstance(getattr(parent, before, None), nn.Dropout):
            setattr(parent, before, nn.Identity())
    return path, linear.in_features


def _layer_groups(module: nn.Module) -> list[list[nn.Module]]:
    """The stem, the stages, each with the layers before it that change the resolution, and layers after them.

    Blocks that are not in stages, as those of MobileNets and vision transformers, are a group each.
    """
    own, units = _units(module)
    start = next(i for i, unit in enumerate(units) if _is_stage(unit))
    groups = [[*([nn.ParameterList(own)] if own else []), *units[:start]]]
    group: list[nn.Module] = []
    for unit in units[start:]:
        group.append(unit)
        if _is_stage(unit):
            groups.append(group)
            group = []
    return [*groups, group] if group else groups


def _units(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Module]]:
    """Parameters that a network and its trunk hold themselves, and the modules in them that have the others."""
    own, units = [*module.parameters(recurse=False)], []
    for name, child in module.named_children():
        if name in _TRUNKS:
            further, inner = _units(child)
            own += further
            units += inner
        elif [*child.parameters()]:
            units.append(child)
    return own, units


def _is_stage(unit: nn.Module) -> bool:
    return bool([*blocks_in(unit)]) and not type(unit).__name__.startswith("PatchMerging")


def _first_convolution(block: nn.Module) -> str | None:
    if not getattr(block, "use_res_connect", True):
        return None
    names = _BRANCHES.get(type(block).__name__, ())
    branches = [(name, getattr(block, name)) for name in names if hasattr(block, name)]
    layers = [found for name, branch in branches for found in branch.named_modules(prefix=name)]
    return next((path for path, layer in layers if isinstance(layer, nn.Conv2d)), None)


def _download(name: str, weights: "WeightsEnum") -> Mapping[str, Tensor]:
    from torchvision.models import get_model

    with downloading(weights, name):
        return get_model(name, weights=weights).state_dict()
