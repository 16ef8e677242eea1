"""Other tools' checkpoint files, opened without running anything that they may hold."""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.errors import UserError

_WRAPPERS = ("state_dict", "model_state", "model")
"""Under which key MMAction2 and TSM, PySlowFast and torchvision's scripts keep the weights, beside an optimizer's."""

_WHERE = f"by itself or under {', '.join(_WRAPPERS)}"


class _Discarded:
    """Takes the place of an object that the weights do without: whatever it is made with is thrown away."""

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_DISCARDED = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",  # by which a HistoryBuffer names its methods
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
)
"""Beside tensors, what MMEngine's checkpoints hold: recorded losses and scores, as arrays and numpy's scalars."""


def read_foreign_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint file, out of its wrapper and without the prefix `module.` of parallel models.

    Pickles are opened by torch's unpickler for weights only: it makes tensors and plain containers, and refuses a file
    that asks for anything else. A handful of names that MMEngine's checkpoints mention are let pass and stand for
    nothing here.

    Raises:
        UserError: there is no such file, it is damaged, holds more than weights, or holds no state dict.
    """
    if not path.is_file():
        raise UserError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; expected a checkpoint file")
    content = _load(path)
    while isinstance(content, Mapping) and (inner := _wrapped(content)) is not None:
        content = inner
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a state dict, {_WHERE}")
    if not content:
        raise UserError(f"{path} holds nothing; expected a state dict, {_WHERE}")
    others = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        raise UserError(
            f"{path} holds no state dict: of {len(content)} entries {len(others)} are not tensors "
            f"({', '.join(others[:5])}{', …' if len(others) > 5 else ''}); expected names and tensors, {_WHERE}"
        )
    return _without_prefix({key: value.detach() for key, value in content.items()}, "module.")


def _wrapped(content: Mapping[object, object]) -> Mapping[object, object] | None:
    inner = (content.get(key) for key in _WRAPPERS)
    return next((value for value in inner if isinstance(value, Mapping)), None)


def _load(path: Path) -> object:
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_Discarded, name) for name in _DISCARDED]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, str(error))) from error
    except Exception as error:  # damaged bytes fail wherever in the unpickler they happen to lead
        raise UserError(_damaged(path, str(error) or type(error).__name__)) from error


def _refusal(path: Path, reason: str) -> str:
    name = re.search(r"GLOBAL (\S+)", reason)
    if name is None:
        found = re.search(r"WeightsUnpickler error: (.+)", reason)
        return _damaged(path, found[1] if found else reason)
    return (
        f"{path} is refused, and nothing in it was run: beside weights it asks for {name[1]}, and a pickle that may "
        "call Python can do anything. If you trust where it comes from, save its weights alone with the tool that "
        "wrote it: torch.save(model.state_dict(), FILE)"
    )


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is damaged, or is no checkpoint of PyTorch: {reason}"


def _without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    while all(key.startswith(prefix) for key in weights):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights
