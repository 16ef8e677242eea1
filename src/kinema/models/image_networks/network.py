"""What Kinema needs to know of another package's image network, and its blocks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from kinema.models.recognizer import RGB


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Of a network without its classifier."""

    out_channels: int
    """Number of features of a frame."""
    classifier: str
    """Name of the linear layer on the features in the package's own network."""
    normalization: tuple[RGB, RGB]
    """Mean and standard deviation of pixels that the package's weights are trained with, on the scale 0–255."""
    size: tuple[int, int] | None
    """Height and width of the pictures that the network takes; None: any."""
    layer_groups: Callable[[nn.Module], list[list[nn.Module]]]
    """Returns the stem of the network, its stages, and layers after them, which together hold all parameters."""
    first_convolution: Callable[[nn.Module], str | None]
    """Returns the name, in a block, of the convolution that its residual branch begins with; None if there is none."""
    shifting: tuple[str, ...]
    """Classes of blocks that `first_convolution` knows."""
    download: Callable[[], Mapping[str, Tensor]]
    """Returns the package's pretrained weights.

    Raises:
        UserError: they cannot be had.
    """


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """Blocks of a network, which are in its containers."""
    for child in network.children():
        if _is_container(child):
            yield from blocks_in(child)


def blocks_in(module: nn.Module) -> Iterator[nn.Module]:
    """Blocks in a container, however deep, or the module itself if it has layers and is no container."""
    if _is_container(module):
        for child in module.children():
            yield from blocks_in(child)
    elif [*module.children()]:
        yield module


def _is_container(module: nn.Module) -> bool:
    """Return whether a module calls its children in sequence."""
    kind = type(module).__name__
    return isinstance(module, nn.Sequential | nn.ModuleList) or kind.endswith("Stage") or kind == "Encoder"


def scaled(mean: list[float], std: list[float]) -> tuple[RGB, RGB]:
    """Scale the mean and standard deviation of pixels of 0–1 to 0–255."""
    means, stds = ((255 * red, 255 * green, 255 * blue) for red, green, blue in (mean, std))
    return means, stds
