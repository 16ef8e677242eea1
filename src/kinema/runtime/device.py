"""Device, precision, memory format and compilation."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from kinema.errors import UserError
from kinema.models.acceleration import accelerate
from kinema.models.capabilities import HasBlocks, HasCompileUnits, require
from kinema.runtime.memory import keep_memory

M = TypeVar("M", bound=nn.Module)


@dataclass(kw_only=True)
class RuntimeOptions:
    """Device, precision, memory format and compilation."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; auto: a GPU if available."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of convolutions and products; weights and sums stay fp32. fp16 scales the loss and needs a GPU. auto:
    in training whichever of fp32 and bf16 a few steps show to be faster, the choice is kept in the run's config; fp32
    elsewhere."""
    channels_last: bool | Literal["auto"] = True
    """Keep images as decoders deliver them, with the channels of a pixel side by side; mostly faster. auto: as for
    precision, true elsewhere."""
    compile: bool | Literal["auto", "graphs"] = False
    """Train stages that torch.compile has turned into kernels of their own: a minute or more before the first step, for
    steps that are faster on GPUs; sums in another order, so another run. graphs: a stage's kernels are also started all
    at once, as a CUDA graph, for small models whose kernels are shorter than their start. auto: as for precision, of
    true and false; false elsewhere."""
    tf32: bool = True
    """Round the operands of fp32 convolutions and products to TF32 (10 bits of mantissa instead of 23) on GPUs since
    Ampere: several times as fast. false: fp32 throughout (IEEE 754). No effect on a CPU."""
    cudnn_benchmark: bool = True
    """Time cuDNN's algorithms for each new shape and use the fastest: some seconds before the first step on a GPU, for
    faster steps. Another run may choose others, whose results differ by rounding."""
    deterministic: bool = False
    """Use only algorithms that give the same bits in every run on a GPU, so that a resumed run continues exactly;
    slower. Implies --runtime.cudnn-benchmark false. Runs on a CPU are deterministic anyway."""
    kernels: bool = True
    """Take Kinema's own ways of computing on the CPU: batch norm, addition and ReLU in one pass, activations that are
    computed again instead of kept, and freed memory kept for the next step. false: torch's operators alone, slower and
    with more memory; results are the same but for rounding."""


def pick_device(options: RuntimeOptions, local_rank: int = 0) -> torch.device:
    """Return the device of this process, and apply the options that hold for the process as a whole.

    Raises:
        UserError: a GPU is required and there is none for this process.
    """
    accelerate(options.kernels)
    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        raise UserError("--runtime.device cuda: torch detects no GPU; pass --runtime.device cpu")
    if options.device == "cpu" or not has_gpu:
        if options.precision == "fp16":
            raise UserError("--runtime.precision fp16 needs a GPU; pass bf16 or fp32 on a CPU")
        if options.compile == "graphs":
            raise UserError("--runtime.compile graphs needs a GPU; pass true or false on a CPU")
        if options.kernels:
            keep_memory()
        return torch.device("cpu")
    if local_rank >= (gpus := torch.cuda.device_count()):
        raise UserError(
            f"process {local_rank} of this machine has no GPU of its own, there are {gpus}: "
            f"start at most {gpus} processes (torchrun --nproc-per-node {gpus})"
        )
    set_gpu_arithmetic(options)
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def set_gpu_arithmetic(options: RuntimeOptions) -> None:
    """Apply `tf32`, `cudnn_benchmark` and `deterministic`; call this before the first use of the GPU."""
    # `allow_tf32` sets `fp32_precision`, too. Setting only the latter makes torch.compile fail, which reads the former
    # (PyTorch issue 166387).
    torch.backends.cuda.matmul.allow_tf32 = options.tf32
    torch.backends.cudnn.allow_tf32 = options.tf32
    torch.backends.cudnn.benchmark = options.cudnn_benchmark and not options.deterministic
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS for determinism
    torch.use_deterministic_algorithms(options.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def to_device(model: M, device: torch.device, options: RuntimeOptions) -> M:
    """Move `model` to `device`, with its convolution weights in the memory format of the options."""
    model.to(device)
    if options.channels_last:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
            elif isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)
    return model


def compile_blocks(model: nn.Module, options: RuntimeOptions) -> None:
    """Compile the blocks of a model in their first call, or the larger units that it declares.

    Keys of the state dict are unchanged.

    Raises:
        UserError: the model declares no blocks.
    """
    blocks = require(model, HasBlocks, "--runtime.compile")
    units = blocks.compile_units() if isinstance(blocks, HasCompileUnits) else blocks.blocks()
    for unit in units:
        unit.compile(dynamic=False, mode="reduce-overhead" if options.compile == "graphs" else None)


def uncompiled(options: RuntimeOptions) -> AbstractContextManager[None]:
    """Run compiled blocks as they were before, for shapes that are not worth compiling.

    Without compiled blocks, torch's own context would import the compiler: 0.15 GiB.
    """
    return torch.compiler.set_stance("force_eager") if options.compile else nullcontext()


def autocast(device: torch.device, options: RuntimeOptions) -> torch.autocast:
    """Return the autocast context of the forward pass, disabled for fp32."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision, torch.float32)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
