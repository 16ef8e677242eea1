"""Weights of other tools' checkpoints: what a family declares about its own, and loading them.

A network that other tools have, too, has a method `foreign` (their names of its weights); its options have the methods
of `ForeignOptions` (how a tool's network differs from Kinema's defaults).
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, Protocol, Self, TypeVar, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, RecognizerOptions
from kinema.tools import Source as Source

log = logging.getLogger(__name__)

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""Patterns in the names of Kinema's modules and their replacements, applied in sequence."""


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A network's weights as another tool has them."""

    names: Mapping[str, str]
    """Kinema's key → the tool's, for every key but those in `parts`."""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kinema's key → the tool's keys of its equal parts along the first dimension."""
    aliases: Rules = ()
    """Patterns in other keys that the tool has for the same weights, and their replacements."""
    unused: str = r"(?!)"
    """Pattern of further keys, of what only pre-training uses, such as a decoder's."""
    untrained: str = r"(?!)"
    """Pattern of keys, such as a head's, that checkpoints of pre-training lack all."""
    constants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Keys and shapes of constants that the tool saves beside the weights."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Kinema's key → the weight's shape in the tool, where it has other dimensions of length 1."""
    own: frozenset[str] = frozenset()
    """Kinema's keys that the tool has no counterpart of, such as a state of the loss; they keep their values."""
    rolled: Mapping[str, int] = field(default_factory=dict)
    """Kinema's key → positions by which the tool has the weight's input channels rolled (`torch.roll`)."""


@runtime_checkable
class HasForeign(Protocol):
    """A network that other tools have, too."""

    def foreign(self, source: Source) -> Foreign | None:
        """Return how `source` has the weights; None if it has no such network."""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """Options of a network in another tool's configuration."""

    options: Mapping[str, object] = field(default_factory=dict)
    """Those that a recipe must have for the same network."""
    taken: Mapping[str, object] = field(default_factory=dict)
    """Those that replace a recipe's."""
    clips: bool = True
    """Whether the network takes clips of consecutive frames rather than segments."""
    segments: int | None = None
    """Number of segments, where the configuration has it."""


@runtime_checkable
class ForeignOptions(Protocol):
    """Base class of the options of a network that other tools have, too."""

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """Return the options with those that `source` fixes, and those that shapes of its weights tell."""

    def unsupported(self, source: Source) -> list[str]:
        """Say what of the network `source` does not compute, though its weights may have the same names and shapes."""
        del source
        return []

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """Return names of options that only a configuration tells, neither `source` nor its weights."""
        del source
        return ()

    @classmethod
    def from_config(cls, config: "ToolConfig", source: Source) -> Configured | None:
        """Return what a configuration of `source` says of the network; None if it is of another network."""
        del config, source
        return None


class ToolConfig:
    """A configuration of another tool, with the faults that are found while it is read."""

    def __init__(self, content: Mapping[str, Any], faults: list[str]) -> None:
        self.content = content
        self.faults = faults

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key, or `default` where it is absent or None."""
        value: Any = self.content
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return default if value is None else value

    def side(self, key: str, default: int) -> Any:
        """Return the length of a square's sides, which a configuration may give for both."""
        value = self.get(key, default)
        return value[0] if isinstance(value, list) and len({*value}) == 1 else value

    def part(self, key: str) -> "ToolConfig":
        """Return the section under `key`, empty where there is none."""
        section = self.get(key)
        return ToolConfig(section if isinstance(section, Mapping) else {}, self.faults)

    def type(self, key: str = "") -> str:
        """Return the class name that MMAction2 gives as `type`."""
        return str((self.part(key) if key else self).get("type", "")).rpartition(".")[2]

    def expect(self, key: str, *allowed: Any) -> None:
        """Note a fault if the key has another value than those `allowed`."""
        value = self.get(key)
        if value is not None and value not in allowed:
            self.faults.append(f"{key} {value}")


PYSLOWFAST_MEAN: RGB = (0.45 * 255, 0.45 * 255, 0.45 * 255)
PYSLOWFAST_STD: RGB = (0.225 * 255, 0.225 * 255, 0.225 * 255)

NORMALIZATION: dict[Source, tuple[RGB, RGB]] = {
    "pyslowfast": (PYSLOWFAST_MEAN, PYSLOWFAST_STD),
    "pytorchvideo": (PYSLOWFAST_MEAN, PYSLOWFAST_STD),
    "tsm": (IMAGENET_MEAN, IMAGENET_STD),
    "torchvision": (
        (0.43216 * 255, 0.394666 * 255, 0.37645 * 255),
        (0.22803 * 255, 0.22145 * 255, 0.216989 * 255),
    ),
}
"""Mean and standard deviation of pixels unless a configuration says otherwise, torchvision's for its video ResNets.
MMAction2 has them in its configuration only."""

_HEADS: dict[Source, str] = {
    "mmaction2": r"cls_head\.fc_cls\.weight",
    "pyslowfast": r"head\.projection\.weight",
    "tsm": r"new_fc\.weight",
    "torchvision": r"(fc|heads\.head|head(\.1)?|classifier(\.\d)?)\.weight",
    "timm": r"(head(\.fc)?|classifier|fc)\.weight",
    "pytorchvideo": r"blocks\.\d+\.proj\.weight",
    "transformers": r"classifier\.weight",
    "videomae": r"head\.weight",
    "timesformer": r"(model\.)?head\.weight",
    "vjepa2": r"(module\.)?linear\.weight",
}
"""Weights of each tool's classifiers."""

_O = TypeVar("_O", bound=RecognizerOptions)


def of_tool(options: _O, weights: Mapping[str, Tensor], source: Source, **changes: Any) -> _O:
    """Return `options` with the weights' number of classes, the tool's normalization, and `changes`."""
    heads = [weight for key, weight in weights.items() if re.fullmatch(_HEADS[source], key) and weight.dim() >= 2]
    if heads:
        changes["num_classes"] = heads[-1].shape[0]
    if source in NORMALIZATION:
        changes = {"mean": NORMALIZATION[source][0], "std": NORMALIZATION[source][1], **changes}
    return replace(options, **changes)


def renamed(model: nn.Module, rules: Rules) -> dict[str, str]:
    """Return each key of `model` with its module renamed by `rules`; the leaf (`weight`, `bias`, …) stays."""
    names = {}
    for key in model.state_dict():
        module, _, leaf = key.rpartition(".")
        names[key] = f"{_renamed(module, rules)}.{leaf}".removeprefix(".")
    return names


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def foreign_of(model: nn.Module, source: Source) -> Foreign:
    """Return how `source` has the weights of `model`.

    Raises:
        UserError: `source` has no such network.
    """
    foreign = model.foreign(source) if isinstance(model, HasForeign) else None
    if foreign is None:
        tools = [tool for tool in get_args(Source) if isinstance(model, HasForeign) and model.foreign(tool)]
        fitting = f"; it can have those of {', '.join(tools)}" if tools else ""
        raise UserError(f"{source} has no {type(model).__name__}{fitting}")
    return foreign


def has_foreign(model: nn.Module, source: Source) -> bool:
    """Return whether `source` has such a network."""
    return isinstance(model, HasForeign) and model.foreign(source) is not None


def foreign_names(model: nn.Module, source: Source) -> Mapping[str, str]:
    """Return Kinema's key → `source`'s, for every key of `model`.

    Raises:
        UserError: `source` has no such network.
    """
    return foreign_of(model, source).names


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A key of a foreign state dict without a counterpart of the same shape in a model."""

    key: str
    """The tool's name."""
    found: tuple[int, ...] | None
    """Shape in the state dict; None if the key is missing there."""
    wanted: tuple[int, ...] | None
    """Shape in the model; None if the model has no such key."""

    @property
    def kind(self) -> str:
        """`missing`, `unknown` or `of another shape`."""
        if self.found is None:
            return "missing"
        return "unknown" if self.wanted is None else "of another shape"


def foreign_misfits(model: nn.Module, state_dict: Mapping[str, Tensor], *, source: Source) -> list[Misfit]:
    """Return keys of a state dict of `source`'s that do not fit `model`: missing, unknown, then misshaped ones.

    Batch norm's `num_batches_tracked` may be missing, as in old checkpoints. So may the constants that a tool saves
    beside the weights; if present, they must have the network's shapes. Of a pre-training checkpoint, the weights that
    only pre-training uses and the absence of those that it does not train are no misfits.

    Raises:
        UserError: `source` has no such network.
    """
    foreign = foreign_of(model, source)
    state_dict, _, untrained = _canonical(state_dict, foreign)
    found = {name: tuple(value.shape) for name, value in state_dict.items()}
    wanted = {name: tuple(value.shape) for name, value in _as_theirs(model.state_dict(), foreign).items()}
    wanted = {name: shape for name, shape in wanted.items() if name not in untrained or name in found}
    wanted |= {name: shape for name, shape in foreign.constants.items() if name in found}
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    unknown = sorted(found.keys() - wanted)
    misshaped = [name for name in wanted if name in found and found[name] != wanted[name]]
    return [Misfit(key=key, found=found.get(key), wanted=wanted.get(key)) for key in (*missing, *unknown, *misshaped)]


def load_foreign_state_dict(
    model: nn.Module, state_dict: Mapping[str, Tensor], *, source: Source, allow_missing: Sequence[str] = ()
) -> None:
    """Load a state dict with `source`'s names into `model`.

    Args:
        model: network of a family that `source` has, too.
        state_dict: weights under `source`'s names. Batch norm's `num_batches_tracked` may be missing.
        source: tool that the names are of.
        allow_missing: patterns (`*` and `?` as in a shell) of keys that may be missing in `state_dict` or `model`;
            weights that are missing in `state_dict` keep their values.

    Raises:
        UserError: `source` has no such network, or a key is missing, unknown or misshaped; `model` is then unchanged.
    """
    misfits = foreign_misfits(model, state_dict, source=source)
    if faults := [misfit for misfit in misfits if not any(fnmatchcase(misfit.key, one) for one in allow_missing)]:
        kinds: dict[str, list[str]] = {}
        for misfit in faults:
            kinds.setdefault(misfit.kind, []).append(_described(misfit))
        raise UserError(
            f"the {source} state dict does not fit this {type(model).__name__}: "
            + "; ".join(_summary(kind, keys) for kind, keys in kinds.items())
        )
    unfit = {misfit.key for misfit in misfits}
    foreign = foreign_of(model, source)
    state_dict, unused, untrained = _canonical(state_dict, foreign)
    if unused:
        log.warning("weights that only pre-training uses are left out: %s", _summary("keys", unused))
    if untrained:
        log.warning("the weights are of pre-training: %s keep their initial values", _summary("keys", untrained))
    own = model.state_dict()
    theirs = _as_theirs(own, foreign)
    theirs |= {name: state_dict[name] for name in theirs if name in state_dict and name not in unfit}
    ours = {key: theirs[name].reshape(own[key].shape) for key, name in foreign.names.items()}
    ours |= {key: torch.cat([theirs[name] for name in names]) for key, names in foreign.parts.items()}
    model.load_state_dict({**_rolled(ours, foreign, -1), **{key: own[key] for key in foreign.own}})


def _canonical(state_dict: Mapping[str, Tensor], foreign: Foreign) -> tuple[Mapping[str, Tensor], list[str], list[str]]:
    """Return weights under the tool's current keys, their unused keys, and those that pre-training does not train."""
    current = {_renamed(key, foreign.aliases): value for key, value in state_dict.items()}
    unused = [key for key in current if re.search(foreign.unused, key)]
    names = chain(foreign.names.values(), *foreign.parts.values())
    untrained = [name for name in names if re.search(foreign.untrained, name)]
    if any(name in current for name in untrained):
        untrained = []
    return {key: value for key, value in current.items() if key not in unused}, unused, untrained


def _described(misfit: Misfit) -> str:
    if misfit.found is None or misfit.wanted is None:
        return misfit.key
    return f"{misfit.key} {list(misfit.found)} instead of {list(misfit.wanted)}"


def _summary(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"


def foreign_state_dict(model: nn.Module, *, source: Source) -> dict[str, Tensor]:
    """Return the weights of `model` under `source`'s names, without the constants that the tool saves beside them.

    Raises:
        UserError: `source` has no such network.
    """
    return _as_theirs(model.state_dict(), foreign_of(model, source))


def _as_theirs(weights: Mapping[str, Tensor], foreign: Foreign) -> dict[str, Tensor]:
    theirs: dict[str, Tensor] = {}
    for key, value in _rolled(weights, foreign, 1).items():
        if key in foreign.own:
            continue
        if key in foreign.parts:
            names = foreign.parts[key]
            theirs |= dict(zip(names, value.chunk(len(names)), strict=True))
        else:
            theirs[foreign.names[key]] = value.reshape(foreign.shapes.get(key, value.shape))
    return theirs


def _rolled(weights: Mapping[str, Tensor], foreign: Foreign, sign: int) -> dict[str, Tensor]:
    rolled = {key: weights[key].roll(sign * by, dims=1) for key, by in foreign.rolled.items() if key in weights}
    return {**weights, **rolled}
