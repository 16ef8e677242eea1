"""Image networks of other packages, without their classifiers."""

from torch import nn

from kinema.models.image_networks.network import Traits
from kinema.models.image_networks.timm_networks import timm_network
from kinema.models.image_networks.torchvision_networks import torchvision_network

PACKAGES = {"timm": timm_network, "torchvision": torchvision_network}
"""Package → function that returns its network of a name, with random weights, and the network's traits."""


def create(backbone: str) -> tuple[nn.Module, Traits]:
    """Return a network `PACKAGE:NAME`, frames `(N, 3, H, W)` → features `(N, out_channels)`, with random weights.

    Raises:
        UserError: the package is not installed, or has no such network.
    """
    package, _, name = backbone.partition(":")
    return PACKAGES[package](name)
