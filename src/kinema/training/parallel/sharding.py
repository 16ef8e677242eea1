"""Fully sharded data parallelism (FSDP: Zhao et al., 2023, arXiv:2304.11277), for models that do not fit."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from kinema.models.capabilities import HasBlocks, require


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard every parameter over the processes, and with it its gradient and optimizer state.

    The parameters of a block are gathered while it is computed, those of the rest while the model is. Buffers
    (batch-norm statistics) are not sharded. All processes must have the same weights before.

    Raises:
        UserError: the model declares no blocks.
    """
    blocks = require(model, HasBlocks, "--training.fully-shard").blocks()
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # which fully_shard asks for; activations keep their layout
    for block in blocks:
        fully_shard(block, mesh=mesh)
    # The rest is sharded again after a forward pass, too: between steps all parameters are.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was called for the model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def gather_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather sharded tensors on the CPU of the first process; called by all, returns an empty dict in the others.

    Tensors that are not sharded are returned as they are.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if not dist.is_initialized() or dist.get_rank() == 0:
            kept[name] = full
    return kept


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a `tensor` that all processes have if `like` is sharded, else `tensor`."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def copy_full_weights(model: nn.Module, sharded: nn.Module) -> None:
    """Copy the weights of a sharded model to an unsharded one; called by all processes."""
    wanted = model.state_dict()
    for name, tensor in sharded.state_dict().items():
        wanted[name].copy_(tensor.full_tensor() if isinstance(tensor, DTensor) else tensor)
