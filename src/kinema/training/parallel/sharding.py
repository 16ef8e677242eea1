"""Fully sharded data parallelism (FSDP: Zhao et al., 2023, arXiv:2304.11277)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kinema.models.capabilities import HasBlocks, require

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor


def shard(model: nn.Module, mesh: "DeviceMesh") -> None:
    """Shard all parameters across the processes, and thereby gradients and optimizer state.

    Each block is a unit whose parameters are gathered together; the remaining parameters form another. Buffers
    (batch-norm statistics) are not sharded. All processes must have the same weights.

    Raises:
        UserError: the model declares no blocks.
    """
    from torch.distributed.fsdp import fully_shard

    blocks = require(model, HasBlocks, "--training.fully-shard").blocks()
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # required by fully_shard; activations keep their layout
    for block in blocks:
        fully_shard(block, mesh=mesh)
    # Reshard the root after forward, too: all parameters are then sharded between steps.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def is_sharded(model: nn.Module) -> bool:
    """Return whether `shard` was called on the model."""
    return any(_is_shard(parameter) for parameter in model.parameters())


def gather_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather sharded tensors on the main process's CPU; other tensors are returned unchanged.

    Collective; returns an empty dict in the other processes.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if _is_shard(tensor) else tensor
        if not dist.is_initialized() or dist.get_rank() == 0:
            kept[name] = full
    return kept


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of `tensor`, which all processes hold, if `like` is sharded, else `tensor`."""
    if not _is_shard(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _is_shard(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Return whether a tensor is a shard (DTensor), without importing that class, which takes longer than torch."""
    return hasattr(tensor, "full_tensor")


@torch.no_grad()
def copy_full_weights(model: nn.Module, sharded: nn.Module) -> None:
    """Copy the weights of a sharded model to an unsharded one. Collective."""
    wanted = model.state_dict()
    for name, tensor in sharded.state_dict().items():
        wanted[name].copy_(tensor.full_tensor() if _is_shard(tensor) else tensor)
