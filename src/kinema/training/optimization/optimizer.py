"""Optimizers, and learning rate and weight decay by parameter."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from torch import nn

from kinema.models.capabilities import HasHead, HasLayerGroups, require
from kinema.training.parallel.sharding import is_sharded

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Optim:
    """Options of every optimizer."""

    lr: Annotated[float, Gt(0)]
    """Initial learning rate, for a total batch of `lr_batch` videos; for any other it is scaled linearly."""
    lr_batch: Annotated[int, Ge(0)] = 0
    """Videos in the total batch (all processes, accumulated) that `lr` is meant for; 0: `lr` holds for any."""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW)."""
    decay_norm_and_bias: bool = True
    """Whether weight decay applies to normalization weights and all biases, too."""
    head_weight_lr: Annotated[float, Gt(0)] = 1.0
    """Factor on the learning rate of the last layer's weight."""
    head_bias_lr: Annotated[float, Gt(0)] = 1.0
    """Factor on the learning rate of the last layer's bias."""
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Layer-wise learning-rate decay, for fine-tuning: factor from the head to the last stage, and from each stage to
    the one before it down to the stem (Clark et al. 2020, section 3.1); 1: the same rate everywhere."""
    clip_norm: Annotated[float, Ge(0)] = 0.0
    """Largest L2 norm of all gradients together; larger ones are scaled down to it. 0: as they are."""


@dataclass(kw_only=True)
class SGD(Optim):
    """Stochastic gradient descent with momentum."""

    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    """Momentum factor, 0–1."""
    nesterov: bool = False
    """Nesterov momentum (Sutskever et al. 2013)."""

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")


@dataclass(kw_only=True)
class AdamW(Optim):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    betas: tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]] = (0.9, 0.999)
    """Decay rates of the moving averages of gradients and of their squares."""
    weight_decay: Annotated[float, Ge(0)] = 0.05


@dataclass(kw_only=True)
class Adam(Optim):
    """Adam with L2 penalty (Kingma & Ba 2015), as BSN and BMN use it."""

    betas: tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]] = (0.9, 0.999)
    """Decay rates of the moving averages of gradients and of their squares."""


def make_optimizer(model: nn.Module, options: SGD | Adam | AdamW, *, total_batch: int) -> torch.optim.Optimizer:
    """Return the optimizer of `options` over `model`'s trainable parameters, for `total_batch` videos a step.

    Every parameter group keeps its initial rate as `initial_lr`, for `set_lr`. (Linear scaling: Goyal et al. 2017.)
    """
    lr = options.lr * (total_batch / options.lr_batch if options.lr_batch else 1.0)
    if lr != options.lr:
        log.info("learning rate %g × %d / %d = %g", options.lr, total_batch, options.lr_batch, lr)
    groups = parameter_groups(model, options, lr)
    if isinstance(options, SGD):
        fused = not is_sharded(model)  # torch has a fused Adam for sharded parameters, but no SGD
        momentum = {"momentum": options.momentum, "nesterov": options.nesterov}
        return _without_compiler(torch.optim.SGD)(groups, **momentum, fused=fused, foreach=not fused)
    kind = torch.optim.Adam if isinstance(options, Adam) else torch.optim.AdamW
    return _without_compiler(kind)(groups, betas=options.betas, fused=True)


@cache
def _without_compiler(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return `kind` with its methods undecorated.

    torch's decorators tell TorchDynamo to leave them alone, and import it for that: a second and 0.15 GiB.
    """
    names = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(methods["step"])})


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's learning rate to its initial one times `factor`; return the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def parameter_groups(model: nn.Module, options: Optim, lr: float) -> list[dict[str, object]]:
    """Parameters by learning rate and weight decay, in the model's order; the ordinary weights come first.

    Raises:
        UserError: an option needs a head or layer groups, which the model does not declare.
    """
    head = _head_parameters(model, options)
    layers_above = _layers_above(model, options)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(lr, options.weight_decay): []}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        is_weight = parameter.ndim > 1  # batch norm's weights and all biases have one dimension
        factor = (options.head_weight_lr if is_weight else options.head_bias_lr) if id(parameter) in head else 1.0
        factor *= options.layer_decay ** layers_above.get(id(parameter), 0)
        decay = options.weight_decay if is_weight or options.decay_norm_and_bias else 0.0
        groups.setdefault((lr * factor, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
        if parameters
    ]


def _head_parameters(model: nn.Module, options: Optim) -> set[int]:
    if options.head_weight_lr == options.head_bias_lr == 1:
        return set()
    option = f"--optim.head-{'weight' if options.head_weight_lr != 1 else 'bias'}-lr"
    return set(map(id, require(model, HasHead, option).head.parameters()))


def _layers_above(model: nn.Module, options: Optim) -> dict[int, int]:
    """Number of layer groups above a parameter's own, by the parameter's id: 0 in the head."""
    if options.layer_decay == 1:
        return {}
    groups = require(model, HasLayerGroups, "--optim.layer-decay").layer_groups()
    return {
        id(parameter): above
        for above, group in enumerate(reversed(groups))
        for module in group
        for parameter in module.parameters()
    }
