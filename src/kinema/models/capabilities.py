"""Protocols of networks and their options.

Beyond `forward`, a network may have capabilities that training, compilation, sharding or fine-tuning asks for. It
declares one by having its methods; `require` says which is missing where one is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.attention_gradient import AttentionGradient


class ModelOptions(Protocol):
    """A dataclass that builds the network it describes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def build(self) -> nn.Module:
        """Return the network with random weights; nothing is downloaded."""


@runtime_checkable
class PretrainsBackbone(Protocol):
    """Options of a network that pre-trains the `backbone` of another, such as that of a recognizer.

    Both networks have the backbone's weights under the same names, `backbone.…`.
    """

    def pretrains(self) -> ModelOptions:
        """Return the options of the other network."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """The tensor that a network takes, without its batch dimension.

    Clips are `(channels, frames, size, size)`, uint8 pixels or normalized floats; features of a localizer are
    `(channels, frames)`. None stands for any length.
    """

    channels: int
    frames: int | None = None
    size: int | None = None
    mean: tuple[float, ...] = ()
    """Mean of uint8 pixels by channel, on the scale 0–255."""
    std: tuple[float, ...] = ()
    """Standard deviation of uint8 pixels by channel, on the scale 0–255."""


@runtime_checkable
class HasInput(Protocol):
    """A declared input."""

    @property
    def input(self) -> Input:
        """Shape and normalization of the input."""


@runtime_checkable
class HasFixedShapes(Protocol):
    """Inputs of one size each, but for the batch, as those of an exported graph."""

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Shapes of the inputs without the batch, such as (C, T, H, W)."""


@runtime_checkable
class HasFurtherInputs(Protocol):
    """A forward pass that takes more than clips or features."""

    def further_inputs(self, count: int) -> tuple[Tensor, ...]:
        """Return further inputs for `count` clips, as training has them, to count operations or measure time."""


@runtime_checkable
class HasBlocks(Protocol):
    """Blocks: units that are compiled, sharded and checkpointed, each called as a module in a forward pass."""

    def blocks(self) -> Sequence[nn.Module]:
        """Blocks in the order of depth."""


@runtime_checkable
class HasCompileUnits(HasBlocks, Protocol):
    """Larger units for `torch.compile` than blocks."""

    def compile_units(self) -> Sequence[nn.Module]:
        """Modules of one or more blocks, each called as a module in a forward pass."""


@runtime_checkable
class HasLayerGroups(Protocol):
    """Layers by depth, for layer-wise learning rates and freezing."""

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Groups from the stem (first) to the head (last), which together hold all parameters."""


@runtime_checkable
class HasHead(Protocol):
    """A classifier as the last layer."""

    @property
    def head(self) -> nn.Linear:
        """Linear layer from features to class scores."""


@runtime_checkable
class HasFeatures(Protocol):
    """Features of clips."""

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → features `(N, F)`, averaged over space and time, as the head takes them."""


@runtime_checkable
class HasFeatureMaps(Protocol):
    """A layer whose features have positions in time and space, from which the class scores are computed."""

    def map_layer(self) -> nn.Module:
        """Last layer whose features have positions."""

    def as_maps(self, output: Any, clips: int) -> tuple[Tensor, ...]:
        """Output of `map_layer()` for N clips, or a gradient of its form → maps `(N, C, T', H', W')` by pathway."""


class Rollout(Protocol):
    """Relevance of tokens for a class score, which attention layers pass on from their outputs to their inputs."""

    def through(self, layer: AttentionGradient) -> None:
        """Pass relevance on through a layer; called for each in a backward pass, the last of the network first."""

    def positions(self) -> Tensor:
        """Relevance of the network's tokens `(N, T', H', W')`, once it has passed all layers."""


@runtime_checkable
class HasAttention(Protocol):
    """Attention layers over tokens that have positions in time and space, computed by `transformer.attend`."""

    def roll_out(self) -> Rollout:
        """Relevance of what the head takes, which has passed no layer yet."""


@runtime_checkable
class HasProbe(Protocol):
    """An encoder, and the last layers, which a probe trains on what the encoder returns."""

    def encode(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → features `(N, F)`, or tokens `(N, L, F)`."""

    def decode(self, encoded: Tensor) -> Tensor:
        """What `encode` returns → logits `(N, classes)`."""

    def decoder_layers(self) -> Sequence[nn.Module]:
        """Layers with parameters that `decode` applies."""


@runtime_checkable
class HasPretrained(Protocol):
    """A backbone with pretrained weights of its own kind."""

    def load_pretrained(self, name: str, read: Callable[[Path], Mapping[str, Tensor]]) -> None:
        """Fill the backbone with the weights that the option `pretrained` names; `read` returns those of a file.

        Raises:
            UserError: There are none of its size, or they cannot be had.
        """


_NAMES: dict[type, str] = {
    HasInput: "an input (`input`)",
    HasBlocks: "blocks (`blocks()`)",
    HasLayerGroups: "layer groups (`layer_groups()`)",
    HasHead: "a head (`head`)",
    HasFeatures: "features (`forward_features()`)",
    HasFeatureMaps: "feature maps (`map_layer()`, `as_maps()`) or attention over tokens (`roll_out()`)",
    HasProbe: "an encoder and its last layers (`encode()`, `decode()`, `decoder_layers()`)",
}

_C = TypeVar("_C")


def require(model: nn.Module, capability: type[_C], option: str) -> _C:
    """Return `model` as one that has `capability`, which `option` needs.

    Raises:
        UserError: the model does not declare the capability.
    """
    if not isinstance(model, capability):
        raise UserError(f"{option} needs a model with {_NAMES[capability]}, which {type(model).__name__} does not have")
    return model
