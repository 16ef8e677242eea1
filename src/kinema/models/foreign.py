"""Weights of other tools' checkpoints for Kinema's models."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.foreign_localizers import mmaction2_constants, mmaction2_localizer_names
from kinema.models.foreign_options import Source
from kinema.models.localizer import Localizer
from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import ResNet3d
from kinema.models.slowfast import SlowFastBackbone

Network = Recognizer | Localizer


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A key of another tool's state dict that has no counterpart in a model, or one of another shape."""

    key: str
    """The other tool's name."""
    found: tuple[int, ...] | None
    """Shape in the state dict; None where the key is missing there."""
    wanted: tuple[int, ...] | None
    """Shape in the model; None where the model knows no such key."""

    @property
    def kind(self) -> str:
        """What is wrong, as messages say it."""
        if self.found is None:
            return "missing"
        return "unknown" if self.wanted is None else "of another shape"


def foreign_misfits(model: Network, state_dict: Mapping[str, Tensor], *, source: Source) -> list[Misfit]:
    """Where a state dict that follows `source`'s names does not fit `model`: missing, unknown, then misshaped keys.

    Old checkpoints lack batch norm's counters of batches, which no recognizer reads: these may be missing. So may the
    constants that MMAction2's BMN saves; those of another number of parts do not fit.
    """
    names = foreign_names(model, source)
    wanted = {names[key]: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state_dict.items()}
    if not isinstance(model, Recognizer):
        constants = mmaction2_constants(model)
        wanted |= {name: shape for name, shape in constants.items() if name in found}
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    unknown = sorted(found.keys() - wanted)
    misshaped = [name for name in wanted if name in found and found[name] != wanted[name]]
    return [Misfit(key=key, found=found.get(key), wanted=wanted.get(key)) for key in (*missing, *unknown, *misshaped)]


def load_foreign_state_dict(
    model: Network, state_dict: Mapping[str, Tensor], *, source: Source, allow_missing: Sequence[str] = ()
) -> None:
    """Fill `model` with the weights of a state dict that follows `source`'s names.

    Old checkpoints lack batch norm's counters of batches, which no recognizer reads: these may be missing. So may keys
    that one of the patterns `allow_missing` fits (`*` and `?` as in a shell), here or there: what `model` does not find
    stays as it was.

    Raises:
        UserError: A key is missing, unknown or of another shape; the model is then left as it was.
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
    names = foreign_names(model, source)
    weights = {key: state_dict[name] for key, name in names.items() if name in state_dict and name not in unfit}
    model.load_state_dict(model.state_dict() | _with_head_turned(model, weights, source, back=False))


def _described(misfit: Misfit) -> str:
    if misfit.found is None or misfit.wanted is None:
        return misfit.key
    return f"{misfit.key} {list(misfit.found)} instead of {list(misfit.wanted)}"


def _summary(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"


def foreign_state_dict(model: Network, *, source: Source) -> dict[str, Tensor]:
    """The weights of `model` under `source`'s names, without the constants that MMAction2's BMN holds beside them."""
    names = foreign_names(model, source)
    weights = _with_head_turned(model, model.state_dict(), source, back=True)
    return {names[key]: value for key, value in weights.items()}


def _with_head_turned(model: Network, weights: dict[str, Tensor], source: Source, *, back: bool) -> dict[str, Tensor]:
    """PySlowFast's head reads the slow pathway's features first, Kinema's and MMAction2's the fast one's."""
    if source != "pyslowfast" or not isinstance(model, Recognizer) or "fc.weight" not in weights:
        return weights
    if not isinstance(model.backbone, SlowFastBackbone):
        return weights
    slow = model.backbone.slow.out_channels
    return weights | {"fc.weight": weights["fc.weight"].roll(slow if back else -slow, dims=1)}


def foreign_names(model: Network, source: Source) -> dict[str, str]:
    """Kinema's key → `source`'s, for every key of `model`.

    Raises:
        UserError: `source` has no such network.
    """
    if not isinstance(model, Recognizer):
        if source != "mmaction2":
            raise UserError(f"{source} has no {type(model).__name__}; weights of mmaction2 fit it")
        return mmaction2_localizer_names(model)
    rules = _torchvision(model) if source == "torchvision" else _RULES[source]
    names = {}
    for key in model.state_dict():
        module, _, leaf = key.rpartition(".")
        name = module
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if source != "torchvision" and module.endswith("conv1") and _shifts(model, module.rpartition(".")[0]):
            name += ".net"
        names[key] = f"{name}.{leaf}"
    return names


def _shifts(model: nn.Module, block: str) -> bool:
    return getattr(model.get_submodule(block), "shift", None) is not None


_Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""Patterns in the names of Kinema's modules, and what each becomes, one after the other."""

_MMACTION2: _Rules = (
    (r"^backbone\.laterals\.0\b", "backbone.slow_path.conv1_lateral"),
    (r"^backbone\.laterals\.(\d)\b", r"backbone.slow_path.layer\1_lateral"),
    (r"_lateral\.norm$", "_lateral.bn"),
    (r"^backbone\.(slow|fast)\.", r"backbone.\1_path."),
    (r"\bconv(\d)\b", r"conv\1.conv"),
    (r"\bbn(\d)$", r"conv\1.bn"),
    (r"\bdownsample\.0\b", "downsample.conv"),
    (r"\bdownsample\.1$", "downsample.bn"),
    (r"\.conv\.spatial$", ".conv.conv_s"),
    (r"\.conv\.norm$", ".conv.bn_s"),
    (r"\.conv\.temporal$", ".conv.conv_t"),
    (r"\.non_local\.theta$", ".non_local_block.theta.conv"),
    (r"\.non_local\.(phi|g)$", r".non_local_block.\1.0.conv"),
    (r"\.non_local\.out$", ".non_local_block.conv_out.conv"),
    (r"\.non_local\.norm$", ".non_local_block.conv_out.bn"),
    (r"^fc$", "cls_head.fc_cls"),
)

# Pathway 0 is the only one or the slow one; the stem is stage 1.
_PYSLOWFAST: _Rules = (
    (r"^backbone\.laterals\.(\d)\.", lambda found: f"s{int(found[1]) + 1}_fuse."),
    (r"_fuse\.conv$", "_fuse.conv_f2s"),
    (r"_fuse\.norm$", "_fuse.bn"),
    (r"^backbone\.(slow\.)?(?=conv|bn|layer)", "pathway0."),
    (r"^backbone\.fast\.", "pathway1."),
    (r"^(pathway\d)\.(conv|bn)1$", r"s1.\1_stem.\2"),
    (r"^(pathway\d)\.layer(\d)\.(\d+)\.", lambda found: f"s{int(found[2]) + 1}.{found[1]}_res{found[3]}."),
    (r"\.downsample\.0$", ".branch1"),
    (r"\.downsample\.1$", ".branch1_bn"),
    (r"\.(conv|bn)1$", r".branch2.a.\1"),
    (r"\.(conv|bn)2$", r".branch2.b.\1"),
    (r"\.(conv|bn)3$", r".branch2.c.\1"),
    (r"(\.branch2\.[abc])\.conv$", r"\1"),
    (r"(\.branch2\.[abc])\.bn$", r"\1_bn"),
    (r"_res(\d+)\.non_local\.norm$", r"_nonlocal\1.bn"),
    (r"_res(\d+)\.non_local\.", r"_nonlocal\1.conv_"),
    (r"^fc$", "head.projection"),
)

_TSM: _Rules = ((r"^backbone\.", "base_model."), (r"^fc$", "new_fc"))


def _torchvision(model: Recognizer) -> _Rules:
    """A 2D ResNet's own names; a video ResNet numbers the layers within its stem and its convolutions."""
    if not isinstance(model.backbone, ResNet3d):
        return ((r"^backbone\.", ""),)
    factorised = not isinstance(model.backbone.conv1, nn.Conv3d)
    return (
        (r"\.spatial$", ".0"),
        (r"\.norm$", ".1"),
        (r"\.temporal$", ".3"),
        (r"^backbone\.conv1\.", "stem."),
        (r"^backbone\.conv1$", "stem.0"),
        (r"^backbone\.bn1$", "stem.4" if factorised else "stem.1"),
        (r"^backbone\.", ""),
        (r"\bconv(\d)\b", r"conv\1.0"),
        (r"\bbn(\d)$", r"conv\1.1"),
    )


_RULES = {"mmaction2": _MMACTION2, "pyslowfast": _PYSLOWFAST, "tsm": _TSM}
