"""BSN: the two networks of the Boundary-Sensitive Network (Lin et al., 2018, arXiv:1806.02964)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import _register_namedtuple

from kinema.models import three_taps, two_layers
from kinema.models.acceleration import replaceable
from kinema.models.capabilities import Input
from kinema.models.foreign import Configured, ForeignOptions, Source, ToolConfig
from kinema.models.localizer import Localizer, with_channels


@dataclass(kw_only=True)
class TEMOptions(ForeignOptions):
    """Options of TEM, BSN's temporal evaluation module."""

    feature_channels: Annotated[int, Ge(1)] = 400
    """Channels of the features."""
    hidden: Annotated[int, Ge(1)] = 512
    """Channels of the convolutions."""

    def build(self) -> "TEM":
        """Return a TEM with random weights."""
        return TEM(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return with_channels(self, weights, "conv1.weight") if source == "mmaction2" else self

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        return Configured() if source == "mmaction2" and config.type("model") == "TEM" else None


@dataclass(kw_only=True)
class PEMOptions(ForeignOptions):
    """Options of PEM, BSN's proposal evaluation module."""

    feature_channels: Annotated[int, Ge(1)] = 32
    """Samples of actionness that describe a proposal."""
    hidden: Annotated[int, Ge(1)] = 256
    """Width of the hidden layer."""

    def build(self) -> "PEM":
        """Return a PEM with random weights."""
        return PEM(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return with_channels(self, weights, "fc1.weight") if source == "mmaction2" else self

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        return Configured() if source == "mmaction2" and config.type("model") == "PEM" else None


class TEMOutput(NamedTuple):
    """Probabilities (N, T), float32: that an action is going on, starts, ends in a part of the video."""

    action: Tensor
    start: Tensor
    end: Tensor


_register_namedtuple(TEMOutput, serialized_type_name="kinema.models.bsn.TEMOutput")  # torch.export.save asks for it


class TEM(Localizer):
    """Says of each part of a video how probably an action is going on, starts and ends there (section 3.3).

    The last layer's output is scaled by 0.01 as in the paper's code, so that training starts near 0.5.
    """

    SCALE = 0.01

    def __init__(self, options: TEMOptions) -> None:
        super().__init__()
        hidden = options.hidden
        self.input = Input(channels=options.feature_channels)
        self.conv1 = nn.Conv1d(options.feature_channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.conv3 = nn.Conv1d(hidden, 3, 1)

    def blocks(self) -> list[nn.Module]:
        """The convolutions."""
        return [self.conv1, self.conv2, self.conv3]

    def forward(self, features: Tensor) -> TEMOutput:
        """Features `(N, C, T)` → probabilities."""
        hidden = _convolve_relu(self.conv2, _convolve_relu(self.conv1, features))
        return TEMOutput(*(self.SCALE * _pointwise(self.conv3, hidden).float()).sigmoid().unbind(1))


def _convolve_relu(layer: nn.Conv1d, x: Tensor) -> Tensor:
    if three_taps.fits(layer, x):
        return three_taps.convolve_relu(layer, x)
    out: Tensor = layer(x)
    return out.relu_()


def _pointwise(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """Return `layer(x)` of a kernel of length 1; torch would copy an `x` whose channels are adjacent in memory."""
    if x.stride(1) == 1 and replaceable(layer, x):
        return F.linear(x.transpose(1, 2), layer.weight.squeeze(2), layer.bias).transpose(1, 2)
    out: Tensor = layer(x)
    return out


class PEM(Localizer):
    """Says how well a proposal fits an action, from its samples of actionness (section 3.3).

    Both layers' outputs are scaled by 0.1 as in the paper's code.
    """

    SCALE = 0.1

    def __init__(self, options: PEMOptions) -> None:
        super().__init__()
        self.input = Input(channels=options.feature_channels)
        self.fc1 = nn.Linear(options.feature_channels, options.hidden)
        self.fc2 = nn.Linear(options.hidden, 1)

    def blocks(self) -> list[nn.Module]:
        """The first layer; the second one's weights are read outside its forward pass."""
        return [self.fc1]

    def forward(self, features: Tensor) -> Tensor:
        """Features `(…, C)` of proposals → the overlap `(…)` that is expected of each, 0–1, float32."""
        # ReLU(0.1 x) is 0.1 ReLU(x): scaling the second layer's weights instead saves two passes over all activations.
        last = self.SCALE * self.fc2.weight
        if two_layers.fits(self.fc1, features):
            overlap = two_layers.relu_then_one(features, self.fc1.weight, self.fc1.bias, last, self.fc2.bias)
        else:
            overlap = F.linear(self.fc1(features).relu_(), last, self.fc2.bias)
        return (self.SCALE * overlap.float()).sigmoid().squeeze(-1)
