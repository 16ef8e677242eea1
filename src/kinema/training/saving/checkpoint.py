"""Checkpoints: a model that anyone can use, and beside it what this run needs to continue exactly."""

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
from torch.optim.swa_utils import AveragedModel

from kinema import strict_json
from kinema.errors import UserError
from kinema.storage import replacing_folder
from kinema.training.parallel.sharding import gather_tensors, shard_like
from kinema.weights.model_files import AnyDescription, check_same_weights, read_weights, save_model

_TENSORS, _VALUES = "training.safetensors", "training.json"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(kw_only=True)
class Position:
    """How far a run has come."""

    step: int = 0
    """Optimizer steps done."""
    steps_per_epoch: int = 0
    """Steps that make an epoch, which must not change when the run is resumed."""
    validated: int = 0
    """Steps that were done when the model was last validated."""
    best: float | None = None
    """Highest score of a validation so far, as the task scores; None where none could be scored."""


@dataclass(kw_only=True)
class TrainState:
    """What training changes, and a checkpoint therefore holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    """The moving average of the model's weights, when one is kept."""

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated and given to users."""
        return self.model if self.ema is None else self.ema.module


@dataclass(kw_only=True)
class Snapshot:
    """What a checkpoint holds. Its tensors are in the first process, in the others only what is not sharded."""

    weights: dict[str, Tensor]
    """Of the model that is given to users."""
    training: dict[str, Tensor]
    """What training continues from beside these."""
    values: dict[str, Any]
    """Numbers and names that belong to it."""


def snapshot(state: TrainState) -> Snapshot:
    """What there is to save; called by all processes."""
    tensors = _optimizer_tensors(state.optimizer)
    if state.ema is not None:  # model.safetensors then holds the average, which training does not continue from
        tensors |= {_MODEL + name: tensor for name, tensor in state.model.state_dict().items()}
    return Snapshot(
        weights=gather_tensors(state.eval_model.state_dict()),
        training=gather_tensors(tensors),
        values={"scaler": state.scaler.state_dict(), "parameters": parameter_names(state)},
    )


def save_checkpoint(folder: Path, contents: Snapshot, position: Position, description: AnyDescription) -> None:
    """Write a complete checkpoint, which takes the place of the one at `folder` when all of it is on the disk.

    Raises:
        UserError: it could not be written (a full disk); the earlier checkpoint is as it was.
    """
    values = {"position": asdict(position), **contents.values}
    with _saving(folder, position) as new:
        save_model(new, contents.weights, description)
        save_file({name: tensor.contiguous() for name, tensor in contents.training.items()}, new / _TENSORS)
        (new / _VALUES).write_text(strict_json.dumps(values, indent=1), encoding="utf-8")


def save_best(folder: Path, weights: dict[str, Tensor], position: Position, description: AnyDescription) -> None:
    """Write the model alone, in the place of the one at `folder`.

    Raises:
        UserError: it could not be written; the earlier one is as it was.
    """
    with _saving(folder, position) as new:
        save_model(new, weights, description)


def load_checkpoint(folder: Path, state: TrainState) -> Position:
    """Put everything back as it was when `folder` was written.

    Raises:
        UserError: the checkpoint is damaged or of another architecture.
    """
    try:
        tensors = load_file(folder / _TENSORS)
        values: dict[str, Any] = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder} cannot be resumed from: {error}") from error
    shown = read_weights(folder)
    weights = {name.removeprefix(_MODEL): tensor for name, tensor in tensors.items() if name.startswith(_MODEL)}
    if bool(weights) != (state.ema is not None):
        raise UserError(
            f"{folder} was saved {'with' if weights else 'without'} --training.ema-decay: resume it likewise"
        )
    check_same_weights(state.model.state_dict(), shown, origin=str(folder))
    _load(state.model, weights or shown)
    _load(state.eval_model, shown)
    # The scaler's state is empty where gradients are not scaled.
    if values["parameters"] != parameter_names(state) or bool(values["scaler"]) != state.scaler.is_enabled():
        raise UserError(
            f"{folder} was trained with other --optim options or another --runtime.precision: resume it likewise"
        )
    _load_optimizer(state.optimizer, tensors)
    state.scaler.load_state_dict(values["scaler"])
    position = Position(**values["position"])
    if state.ema is not None:
        state.ema.n_averaged.fill_(position.step)
    return position


def parameter_names(state: TrainState) -> list[str]:
    """The model's parameters in the order in which the optimizer counts them."""
    names = {id(parameter): name for name, parameter in state.model.named_parameters()}
    return [names[id(parameter)] for group in state.optimizer.param_groups for parameter in group["params"]]


@contextmanager
def _saving(folder: Path, position: Position) -> Iterator[Path]:
    try:
        with replacing_folder(folder) as new:
            yield new
    except (OSError, SafetensorError) as error:
        kept = f"; the checkpoint before it is kept in {folder}" if folder.exists() else ""
        raise UserError(f"could not save the checkpoint of step {position.step}: {error}{kept}") from error


def _load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    model.load_state_dict({name: shard_like(weights[name], like) for name, like in model.state_dict().items()})


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter number and name; rates and the like follow from the config and the step."""
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
    """Fused optimizers walk through a weight and its state side by side in memory: both must be laid out alike."""
    if tensor.shape != parameter.shape:
        return tensor  # a count of steps
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(shard_like(tensor, parameter))
