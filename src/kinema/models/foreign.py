"""Weights of other tools' checkpoints for Kinema's models."""

import re
from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import ResNet3d
from kinema.models.slowfast import SlowFastBackbone

Source = Literal["mmaction2", "pyslowfast", "tsm", "torchvision"]


def load_foreign_state_dict(model: Recognizer, state_dict: Mapping[str, Tensor], *, source: Source) -> None:
    """Fill `model` with the weights of a state dict that follows `source`'s names.

    Old checkpoints lack batch norm's counters of batches, which no recognizer reads: these may be missing.

    Raises:
        UserError: A key is missing, unknown or of another shape; the model is then left as it was.
    """
    names = foreign_names(model, source)
    own = model.state_dict()
    present = {key: name for key, name in names.items() if name in state_dict}
    missing = [name for name in names.values() if name not in state_dict and not name.endswith("num_batches_tracked")]
    unknown = state_dict.keys() - names.values()
    misshaped = [
        f"{name} {list(state_dict[name].shape)} instead of {list(own[key].shape)}"
        for key, name in present.items()
        if state_dict[name].shape != own[key].shape
    ]
    if missing or unknown or misshaped:
        faults = (("missing", missing), ("unknown", sorted(unknown)), ("of another shape", misshaped))
        raise UserError(
            f"the {source} state dict does not fit this {type(model).__name__}: "
            + "; ".join(_summary(kind, keys) for kind, keys in faults if keys)
        )
    weights = {key: state_dict[name] for key, name in present.items()}
    model.load_state_dict(own | _with_head_turned(model, weights, source, back=False))


def _summary(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"


def foreign_state_dict(model: Recognizer, *, source: Source) -> dict[str, Tensor]:
    """The weights of `model` under `source`'s names."""
    names = foreign_names(model, source)
    weights = _with_head_turned(model, model.state_dict(), source, back=True)
    return {names[key]: value for key, value in weights.items()}


def _with_head_turned(
    model: Recognizer, weights: dict[str, Tensor], source: Source, *, back: bool
) -> dict[str, Tensor]:
    """PySlowFast's head reads the slow pathway's features first, Kinema's and MMAction2's the fast one's."""
    if source != "pyslowfast" or not isinstance(model.backbone, SlowFastBackbone):
        return weights
    slow = model.backbone.slow.out_channels
    return weights | {"fc.weight": weights["fc.weight"].roll(slow if back else -slow, dims=1)}


def foreign_names(model: Recognizer, source: Source) -> dict[str, str]:
    """Kinema's key → `source`'s, for every key of `model`."""
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
