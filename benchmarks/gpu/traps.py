"""Convolutions over time that cuDNN and torch are known to have got wrong or slow, on this card with these versions.

Each is compared with float64 of the same rounded operands: output, and gradients of input and weight. A sum of n
products is off by at most the rounding of its result and of n additions in float32, each times the sum of the products'
magnitudes (Higham, Accuracy and Stability, section 3.1); TF32 cuts both operands to 10 bits besides. An error above
the bound is a fault. Times are of forward and backward passes together: slower than fp32 means a fallback.

References: PyTorch issues 163539 (wrong bf16 results of cuDNN 9.8 to 9.10 on large clips), 166643 and 166122 (slow
fallback and memory in torch 2.9), 37406 and 110885 (slow depthwise convolutions).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.gpu.runner import Context
from benchmarks.gpu.stepping import timed
from torch import Tensor, nn

from kinema.runtime.device import RuntimeOptions, set_gpu_arithmetic


@dataclass(frozen=True, kw_only=True)
class Case:
    """A convolution."""

    name: str
    shape: tuple[int, ...]
    """(N, C, T, H, W)."""
    channels: int
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int] = (1, 1, 1)
    groups: int = 1

    @property
    def padding(self) -> tuple[int, ...]:
        """Zeros on each side, which keep the size at stride 1."""
        return tuple(size // 2 for size in self.kernel)


CASES = (
    Case(name="stem of I3D", shape=(4, 3, 32, 112, 112), channels=64, kernel=(5, 7, 7), stride=(2, 2, 2)),
    Case(
        name="stem of SlowFast's fast pathway",
        shape=(4, 3, 32, 112, 112),
        channels=8,
        kernel=(5, 7, 7),
        stride=(1, 2, 2),
    ),
    Case(name="3×3×3", shape=(4, 64, 8, 56, 56), channels=64, kernel=(3, 3, 3)),
    Case(name="1×3×3", shape=(4, 64, 8, 56, 56), channels=144, kernel=(1, 3, 3)),
    Case(name="3×1×1", shape=(4, 256, 8, 28, 28), channels=64, kernel=(3, 1, 1)),
    Case(name="lateral of SlowFast", shape=(4, 32, 32, 28, 28), channels=64, kernel=(5, 1, 1), stride=(8, 1, 1)),
    Case(name="channel-wise, X3D", shape=(4, 54, 16, 56, 56), channels=54, kernel=(3, 3, 3), groups=54),
)
SHORT = (
    Case(name="3×3×3", shape=(2, 8, 8, 14, 14), channels=8, kernel=(3, 3, 3)),
    Case(name="channel-wise", shape=(2, 8, 8, 14, 14), channels=8, kernel=(3, 3, 3), groups=8),
)
DTYPES = {"fp32": torch.float32, "TF32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ROUNDING = {"fp32": 0.0, "TF32": 2.0**-9, "bf16": 2.0**-8, "fp16": 2.0**-10}
"""Relative error of a product or a result beside that of float32 additions."""
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
SLOW = 1.3


def run(context: Context) -> None:
    """Check every case in every precision and layout."""
    for case in SHORT if context.short else CASES:
        fp32: dict[str, float] = {}
        for precision in DTYPES:
            if precision in ("TF32", "fp16") and not context.gpu:
                context.emit("convolutions", case=case.name, precision=precision, left_out="needs a GPU")
                continue
            if context.gpu:
                set_gpu_arithmetic(RuntimeOptions(tf32=precision == "TF32", cudnn_benchmark=False))
            for layout in LAYOUTS:
                values = _check(context, case, precision, layout)
                fp32.setdefault(layout, values["ms"])
                context.emit(
                    "convolutions", case=case.name, precision=precision, layout=layout, **values,
                    slower_than_fp32=values["ms"] > SLOW * fp32[layout],
                )  # fmt: skip
    if context.gpu:
        _large(context)
        _layouts_under_inductor(context)
    else:
        for name in ("large bf16 clip of issue 163539", "layouts under Inductor"):
            context.emit("convolutions", case=name, left_out="needs a GPU")


def _check(context: Context, case: Case, precision: str, layout: str) -> dict[str, Any]:
    torch.manual_seed(0)
    dtype, memory = DTYPES[precision], LAYOUTS[layout]
    shape = (case.channels, case.shape[1] // case.groups, *case.kernel)
    x = torch.randn(case.shape, device=context.device).to(dtype).contiguous(memory_format=memory).requires_grad_()
    weight = (
        torch.randn(shape, device=context.device).mul_(0.1).to(dtype).contiguous(memory_format=memory).requires_grad_()
    )
    options = (None, case.stride, case.padding, 1, case.groups)
    gradient = torch.randn_like(F.conv3d(x, weight, *options))
    found = _passes(x, weight, gradient, options)
    exact = _passes(x.double(), weight.double(), gradient.double(), options)
    magnitude = _passes(x.double().abs(), weight.double().abs(), gradient.double().abs(), options)
    ones = [torch.ones_like(each, dtype=torch.float64) for each in (x, weight, gradient)]
    count = _passes(ones[0], ones[1], ones[2], options)
    worst = {}
    for name, value, right, size, terms in zip(
        ("output", "input_gradient", "weight_gradient"), found, exact, magnitude, count, strict=True
    ):
        bound = (ROUNDING[precision] + terms * 2**-24) * size + 2.0**-24 * (precision == "fp16")
        worst[name] = float(((value.double() - right).abs() / bound.clamp(min=1e-30)).max())

    def step() -> None:
        torch.autograd.grad(F.conv3d(x, weight, *options), (x, weight), gradient)

    times = timed(step, context.device, seconds=0.05, blocks=2, warmup=2)
    return {
        "ok": max(worst.values()) <= 1,
        **{f"{key}_of_bound": value for key, value in worst.items()},
        "ms": 1000 * times.device,
    }


def _passes(x: Tensor, weight: Tensor, gradient: Tensor, options: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Output, and gradients of input and weight."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    out = F.conv3d(x, weight, *options)
    return out.detach(), *torch.autograd.grad(out, (x, weight), gradient)


def _large(context: Context) -> None:
    """The clip on which cuDNN 9.8 to 9.10 was wrong; frames are compared one by one, as the kernel has length 1."""
    needed = 24 * 2**30
    if torch.cuda.mem_get_info(context.device)[0] < needed:
        context.emit("convolutions", case="large bf16 clip of issue 163539", left_out="needs 24 GiB of free memory")
        return
    x = torch.randn(1, 16, 124, 1282, 722, device=context.device, dtype=torch.bfloat16)
    weight = torch.randn(16, 16, 1, 3, 3, device=context.device).mul_(0.1).bfloat16()
    out = F.conv3d(x, weight)
    worst = 0.0
    for frame in (0, 61, 123):
        one, kernel = x[:, :, frame].double(), weight[:, :, 0].double()
        right, size = F.conv2d(one, kernel), F.conv2d(one.abs(), kernel.abs())
        bound = (2**-8 + 144 * 2**-24) * size
        worst = max(worst, float(((out[:, :, frame].double() - right).abs() / bound).max()))
    context.emit(
        "convolutions", case="large bf16 clip of issue 163539", precision="bf16", layout="contiguous", ok=worst <= 1,
        output_of_bound=worst,
    )  # fmt: skip


def _layouts_under_inductor(context: Context) -> None:
    """Kernels that copy between layouts in a 3D block, eager and compiled: Inductor plans channels-last for 2D only."""
    block = nn.Sequential(
        nn.Conv3d(64, 64, 3, padding=1, bias=False), nn.BatchNorm3d(64), nn.ReLU(), nn.Conv3d(64, 64, 3, padding=1)
    )
    block = block.to(context.device).to(memory_format=torch.channels_last_3d)
    clips = torch.randn(4, 64, 8, 28, 28, device=context.device).contiguous(memory_format=torch.channels_last_3d)
    networks: dict[str, Any] = {"eager": block, "compiled": torch.compile(block)}
    for name, network in networks.items():
        with torch.autocast("cuda", torch.bfloat16):
            network(clips).float().sum().backward()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                out = network(clips)
        kernels = [event.key for event in profile.key_averages()]
        context.emit(
            "layouts", block=name, channels_last_output=out.is_contiguous(memory_format=torch.channels_last_3d),
            copies_between_layouts=sum(_is_copy(kernel) for kernel in kernels),
        )  # fmt: skip


def _is_copy(kernel: str) -> bool:
    return any(word in kernel for word in ("nchwToNhwc", "nhwcToNchw", "transpose", "tensorTransform"))
