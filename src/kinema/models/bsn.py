"""BSN: the two networks of the Boundary-Sensitive Network (Lin et al., 2018, arXiv:1806.02964)."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import _register_namedtuple


@dataclass(kw_only=True)
class TEMOptions:
    """BSN's temporal evaluation module."""

    feature_channels: Annotated[int, Ge(1)] = 400
    """Channels of the features."""
    hidden: Annotated[int, Ge(1)] = 512
    """Channels of the convolutions."""


@dataclass(kw_only=True)
class PEMOptions:
    """BSN's proposal evaluation module."""

    feature_channels: Annotated[int, Ge(1)] = 32
    """Samples of actionness that describe a proposal."""
    hidden: Annotated[int, Ge(1)] = 256
    """Width of the hidden layer."""


class TEMOutput(NamedTuple):
    """Probabilities (N, T), float32: that an action is going on, starts, ends in a part of the video."""

    action: Tensor
    start: Tensor
    end: Tensor


_register_namedtuple(TEMOutput, serialized_type_name="kinema.models.bsn.TEMOutput")  # torch.export.save asks for it


def tem(*, feature_channels: int = 400, hidden: int = 512) -> "TEM":
    """A TEM with random weights; the keywords are explained in `TEMOptions`."""
    return TEM(feature_channels, hidden)


def pem(*, feature_channels: int = 32, hidden: int = 256) -> "PEM":
    """A PEM with random weights; the keywords are explained in `PEMOptions`."""
    return PEM(feature_channels, hidden)


class TEM(nn.Module):
    """Says of each part of a video how probably an action is going on, starts and ends there (section 3.3).

    The last layer's output is scaled by 0.01 as in the paper's code, so that training starts near 0.5.
    """

    SCALE = 0.01

    def __init__(self, feature_channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(feature_channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.conv3 = nn.Conv1d(hidden, 3, 1)

    def forward(self, features: Tensor) -> TEMOutput:
        """Features `(N, C, T)` → probabilities."""
        hidden = self.conv2(self.conv1(features).relu_()).relu_()
        return TEMOutput(*(self.SCALE * self.conv3(hidden).float()).sigmoid().unbind(1))


class PEM(nn.Module):
    """Says how well a proposal fits an action, from its samples of actionness (section 3.3).

    Both layers' outputs are scaled by 0.1 as in the paper's code.
    """

    SCALE = 0.1

    def __init__(self, feature_channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(feature_channels, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features `(…, C)` of proposals → the overlap `(…)` that is expected of each, 0–1, float32."""
        # ReLU(0.1 x) is 0.1 ReLU(x): scaling the second layer's weights instead saves two passes over all activations.
        hidden = self.fc1(features).relu_()
        overlap = F.linear(hidden, self.SCALE * self.fc2.weight, self.fc2.bias)
        return (self.SCALE * overlap.float()).sigmoid().squeeze(-1)
