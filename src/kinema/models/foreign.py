"""Weights of other tools' checkpoints for Kinema's models."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.recognizer import Recognizer

Source = Literal["mmaction2"]


def load_foreign_state_dict(model: Recognizer, state_dict: Mapping[str, Tensor], *, source: Source) -> None:
    """Fill `model` with the weights of a state dict that follows `source`'s names.

    Raises:
        UserError: A key is missing, unknown or of another shape; the model is then left as it was.
    """
    names = _NAMES[source](model)
    own = model.state_dict()
    missing = [name for name in names.values() if name not in state_dict]
    unknown = state_dict.keys() - names.values()
    misshaped = [
        f"{name} {list(state_dict[name].shape)} instead of {list(own[key].shape)}"
        for key, name in names.items()
        if name in state_dict and state_dict[name].shape != own[key].shape
    ]
    if missing or unknown or misshaped:
        faults = (("missing", missing), ("unknown", sorted(unknown)), ("of another shape", misshaped))
        raise UserError(
            f"the {source} state dict does not fit this {type(model).__name__}: "
            + "; ".join(_summary(kind, keys) for kind, keys in faults if keys)
        )
    model.load_state_dict({key: state_dict[name] for key, name in names.items()})


def _summary(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"


def mmaction2_names(model: Recognizer) -> dict[str, str]:
    """Kinema's key → MMAction2's, for every key of `model`."""
    names = {}
    for key in model.state_dict():
        module, _, leaf = key.rpartition(".")
        name = module
        for pattern, replacement in _MMACTION2:
            name = re.sub(pattern, replacement, name)
        if module.endswith("conv1") and _shifts(model.get_submodule(module.rpartition(".")[0])):
            name += ".net"
        names[key] = f"{name}.{leaf}"
    return names


def _shifts(block: nn.Module) -> bool:
    return getattr(block, "shift", None) is not None


_MMACTION2 = (
    (r"\bconv(\d)$", r"conv\1.conv"),
    (r"\bbn(\d)$", r"conv\1.bn"),
    (r"\bdownsample\.0$", "downsample.conv"),
    (r"\bdownsample\.1$", "downsample.bn"),
    (r"^fc$", "cls_head.fc_cls"),
)

_NAMES = {"mmaction2": mmaction2_names}
