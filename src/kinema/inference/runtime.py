"""On what, and in which arithmetic, a model runs."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from kinema.errors import UserError

M = TypeVar("M", bound=nn.Module)


@dataclass(kw_only=True)
class RuntimeOptions:
    """On what, and in which arithmetic, a model runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto: on a GPU when there is one."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of convolutions and products; weights and sums stay fp32. fp16 scales the loss and needs a GPU."""
    channels_last: bool = True
    """Keep images as decoders deliver them, with the channels of a pixel side by side; mostly faster."""


def pick_device(options: RuntimeOptions, local_rank: int = 0) -> torch.device:
    """The device of this process.

    Raises:
        UserError: a GPU is asked for and there is none, or none for this process, or fp16 is asked for without one.
    """
    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        raise UserError("--runtime.device cuda: torch finds no GPU; --runtime.device cpu works without")
    if options.device == "cpu" or not has_gpu:
        if options.precision == "fp16":
            raise UserError("--runtime.precision fp16 needs a GPU; on a CPU use bf16 or fp32")
        return torch.device("cpu")
    if local_rank >= (gpus := torch.cuda.device_count()):
        raise UserError(
            f"process {local_rank} of this machine finds no GPU of its own, there are {gpus}: "
            f"start at most {gpus} processes (torchrun --nproc-per-node {gpus})"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def place(model: M, device: torch.device, options: RuntimeOptions) -> M:
    """Move `model` to `device`, its convolution weights in the memory format of the options."""
    model.to(device)
    if options.channels_last:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
            elif isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)
    return model


def autocast(device: torch.device, options: RuntimeOptions) -> torch.autocast:
    """The context in which the model runs forward; does nothing in fp32."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    return torch.autocast(device.type, dtype=dtype, enabled=options.precision != "fp32")
