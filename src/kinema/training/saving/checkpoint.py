"""Checkpoints: a model folder that also holds the state to resume training from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema import strict_json
from kinema.errors import UserError
from kinema.storage import replacing_folder
from kinema.training.optimization.averaging import MovingAverage
from kinema.training.parallel.sharding import gather_tensors, shard_like
from kinema.weights.model_files import AnyDescription, check_same_weights, read_weights, save_model

_TENSORS, _VALUES = "training.safetensors", "training.json"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(kw_only=True)
class Position:
    """Progress of a run."""

    step: int = 0
    """Optimizer steps taken."""
    steps_per_epoch: int = 0
    """Steps per epoch, which a resumed run must not change."""
    validated: int = 0
    """Step of the last validation."""
    best: float | None = None
    """Highest validation score so far, see `Criterion.score`; None if there is none."""
    best_step: int = 0
    """Step of that validation."""
    since_best: int = 0
    """Validations since then."""


@dataclass(kw_only=True)
class TrainState:
    """Model, optimizer, gradient scaler and moving average: what training updates and checkpoints hold."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: MovingAverage | None
    """Moving average of the model's weights, if enabled."""

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated and saved for use: the moving average, if enabled."""
        return self.model if self.ema is None else self.ema.module


@dataclass(kw_only=True)
class Snapshot:
    """Contents of a checkpoint, complete in the main process only."""

    weights: dict[str, Tensor]
    """State dict of `TrainState.eval_model`."""
    training: dict[str, Tensor]
    """Optimizer state, and the model's weights if `weights` are their moving average."""
    values: dict[str, Any]
    """State of the scaler, and the parameters' names in the optimizer's order."""


def snapshot(state: TrainState) -> Snapshot:
    """Return the contents of a checkpoint. Collective."""
    tensors = _optimizer_tensors(state.optimizer)
    if state.ema is not None:  # model.safetensors holds the average
        tensors |= {_MODEL + name: tensor for name, tensor in state.model.state_dict().items()}
    return Snapshot(
        weights=gather_tensors(state.eval_model.state_dict()),
        training=gather_tensors(tensors),
        values={"scaler": state.scaler.state_dict(), "parameters": parameter_names(state)},
    )


def save_checkpoint(folder: Path, contents: Snapshot, position: Position, description: AnyDescription) -> None:
    """Replace the checkpoint at `folder` atomically.

    Raises:
        UserError: it cannot be written, for instance to a full disk; the previous checkpoint is kept.
    """
    values = {"position": asdict(position), **contents.values}
    with _saving(folder, position) as new:
        save_model(new, contents.weights, description)
        save_file({name: tensor.contiguous() for name, tensor in contents.training.items()}, new / _TENSORS)
        (new / _VALUES).write_text(strict_json.dumps(values, indent=1), encoding="utf-8")


def save_best(folder: Path, weights: dict[str, Tensor], position: Position, description: AnyDescription) -> None:
    """Replace the model at `folder` atomically.

    Raises:
        UserError: it cannot be written; the previous one is kept.
    """
    with _saving(folder, position) as new:
        save_model(new, weights, description)


def load_checkpoint(folder: Path, state: TrainState) -> Position:
    """Restore the training state from a checkpoint; return its position.

    Raises:
        UserError: the checkpoint is damaged or of another architecture.
    """
    try:
        tensors = load_file(folder / _TENSORS)
        values: dict[str, Any] = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder} cannot be resumed from: {error}") from error
    saved = read_weights(folder)
    weights = {name.removeprefix(_MODEL): tensor for name, tensor in tensors.items() if name.startswith(_MODEL)}
    if bool(weights) != (state.ema is not None):
        raise UserError(
            f"{folder} was saved {'with' if weights else 'without'} --training.ema-decay: resume it with the same value"
        )
    check_same_weights(state.model.state_dict(), saved, origin=str(folder))
    _load(state.model, weights or saved)
    _load(state.eval_model, saved)
    # The scaler's state is empty where gradients are not scaled.
    if values["parameters"] != parameter_names(state) or bool(values["scaler"]) != state.scaler.is_enabled():
        raise UserError(
            f"{folder} was trained with other --optim options or another --runtime.precision: resume it with those"
        )
    _load_optimizer(state.optimizer, tensors)
    state.scaler.load_state_dict(values["scaler"])
    position = Position(**values["position"])
    if state.ema is not None:
        state.ema.updates = position.step
    return position


def parameter_names(state: TrainState) -> list[str]:
    """Return the names of the model's parameters in the optimizer's order."""
    names = {id(parameter): name for name, parameter in state.model.named_parameters()}
    return [names[id(parameter)] for group in state.optimizer.param_groups for parameter in group["params"]]


@contextmanager
def _saving(folder: Path, position: Position) -> Iterator[Path]:
    try:
        with replacing_folder(folder) as new:
            yield new
    except (OSError, SafetensorError) as error:
        kept = f"; the previous checkpoint is kept in {folder}" if folder.exists() else ""
        raise UserError(f"could not save the checkpoint of step {position.step}: {error}{kept}") from error


def _load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    model.load_state_dict({name: shard_like(weights[name], like) for name, like in model.state_dict().items()})


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state tensors; hyper-parameters follow from the config and the step."""
    state = optimizer.state_dict()["state"]
    return {
        f"{_OPTIMIZER}{number}.{name}": value
        for number, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_OPTIMIZER):
            number, name = key.removeprefix(_OPTIMIZER).split(".")
            state.setdefault(int(number), {})[name] = _laid_out_as(parameters[int(number)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Copy `tensor` to the parameter's memory layout, which fused optimizers require of its state."""
    if tensor.shape != parameter.shape:
        return tensor  # step count
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(shard_like(tensor, parameter))
