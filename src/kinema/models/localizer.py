"""Base class of localizers."""

from typing import Any, ClassVar, Protocol

from torch import nn

from kinema.models.capabilities import Input


class Localizer(nn.Module):
    """A network from features of a video, or of a proposal in it, to probabilities or overlaps."""

    input: Input


class LocalizerOptions(Protocol):
    """Options of a localizer."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    feature_channels: int

    def build(self) -> Localizer:
        """Return the network with random weights."""
