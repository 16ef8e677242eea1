"""Base class of localizers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor, nn

from kinema.models.capabilities import Input
from kinema.models.foreign import Foreign, Source, renamed


class Localizer(nn.Module):
    """A network from features of a video, or of a proposal in it, to probabilities or overlaps."""

    input: Input

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2, the same as Kinema's."""
        return Foreign(names=renamed(self, ())) if source == "mmaction2" else None


class LocalizerOptions(Protocol):
    """Options of a localizer."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    feature_channels: int

    def build(self) -> Localizer:
        """Return the network with random weights."""


_O = TypeVar("_O", bound=LocalizerOptions)


def with_channels(options: _O, weights: Mapping[str, Tensor], first: str, *, groups: int = 1) -> _O:
    """Return `options` with as many feature channels as the weight `first`, which the features enter, has."""
    weight = weights.get(first)
    if weight is None or weight.dim() < 2:
        return options
    return replace(options, feature_channels=weight.shape[1] * groups)
