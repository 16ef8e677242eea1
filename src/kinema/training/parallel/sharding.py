"""Fully sharded data parallelism (FSDP: Zhao et al., 2023, arXiv:2304.11277)."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from kinema.models.capabilities import HasBlocks, require


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard all parameters across the processes, and thereby gradients and optimizer state.

    Each block is a unit whose parameters are gathered together; the remaining parameters form another. Buffers
    (batch-norm statistics) are not sharded. All processes must have the same weights.

    Raises:
        UserError: the model declares no blocks.
    """
    blocks = require(model, HasBlocks, "--training.fully-shard").blocks()
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # required by fully_shard; activations keep their layout
    for block in blocks:
        fully_shard(block, mesh=mesh)
    # Reshard the root after forward, too: all parameters are then sharded between steps.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def is_sharded(model: nn.Module) -> bool:
    """Return whether `shard` was called on the model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def gather_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather sharded tensors on the main process's CPU; other tensors are returned unchanged.

    Collective; returns an empty dict in the other processes.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if not dist.is_initialized() or dist.get_rank() == 0:
            kept[name] = full
    return kept


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of `tensor`, which all processes hold, if `like` is sharded, else `tensor`."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def copy_full_weights(model: nn.Module, sharded: nn.Module) -> None:
    """Copy the weights of a sharded model to an unsharded one. Collective."""
    wanted = model.state_dict()
    for name, tensor in sharded.state_dict().items():
        wanted[name].copy_(tensor.full_tensor() if isinstance(tensor, DTensor) else tensor)
