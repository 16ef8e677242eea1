"""A model divided over the processes, for what does not fit (FSDP: Zhao et al., 2023, arXiv:2304.11277)."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from kinema.models.resnet import ResNet
from kinema.models.resnet3d import ResNet3d


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Leave each process its part of every parameter; gradients and the optimizer's state are divided likewise.

    The parameters of a residual block are whole while it is computed, those of the rest while the model is. Buffers
    (batch-norm statistics) stay whole. All processes must have the same weights before.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # which fully_shard asks for; activations keep their layout
    for backbone in [module for module in model.modules() if isinstance(module, ResNet | ResNet3d)]:
        for stage in backbone.stages:
            for block in stage:
                fully_shard(block, mesh=mesh)
    # Also the rest is divided again after a forward pass: between steps all parameters are.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was called for the model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of `tensors` is divided, put together on the CPU of the first process; called by all, empty in the others.

    Where nothing is divided, the tensors themselves.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if not dist.is_initialized() or dist.get_rank() == 0:
            kept[name] = full
    return kept


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole `tensor`, which all processes have, if `like` is divided; else `tensor`."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def fill(model: nn.Module, sharded: nn.Module) -> None:
    """Give the whole weights of a sharded model to another one of its kind; called by all processes."""
    wanted = model.state_dict()
    for name, tensor in sharded.state_dict().items():
        wanted[name].copy_(tensor.full_tensor() if isinstance(tensor, DTensor) else tensor)
