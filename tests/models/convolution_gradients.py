"""Outputs and gradients of convolutions beside float64, in a process whose environment names an emulated CPU.

    ONEDNN_MAX_CPU_ISA=AVX2 python -m tests.models.convolution_gradients [bf16] [SECONDS SEED]

SECONDS: how long to draw further cases at random, printing each before it is computed, as a fault may end the process.
The bound is that of any order of summation: a sum of n products is off by at most n · 2⁻²⁴ times the sum of their
magnitudes in float32, and by a rounding of the result more in bfloat16 (Higham, Accuracy and Stability, section 3.1).
"""

import random
import sys
import time
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.models.convolution import Conv2d, Conv3d

Sizes = tuple[int, ...]
ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}


def cases(threads: int) -> Iterator[tuple[Sizes, Sizes, Sizes, int, int, torch.dtype]]:
    """Kernel, stride, size, input and output channels, dtype; on several threads those that meet the faults."""
    for channels in range(1, 18):
        for stride in (1, 2) if threads == 1 else (2,):
            yield (1, 1), (stride, stride), (16, 12), channels, 8, torch.float32
            yield (1, 1, 1), (1, stride, stride), (2, 16, 12), channels, 8, torch.float32
            yield (1, 1, 1), (stride, stride, stride), (3, 7, 6), channels, 9, torch.float32
    for kernel, stride, frames in product((3, 5, 7, 9), (1, 2, 3), range(2, 11)):
        yield (kernel, 1, 1), (stride, 1, 1), (frames, 4, 4), 8, 8, torch.float32
    if "bf16" in sys.argv and threads < 4:
        for size, kernel, channels in product((1, 2, 8), (3, 7), (3, 16)):
            yield (kernel, kernel), (2, 2), (12, size), channels, 9, torch.bfloat16
            yield (3, kernel, kernel), (1, 2, 2), (1, 8, size), channels, 16, torch.bfloat16
            yield (3, kernel, kernel), (2, 2, 2), (size, 8, 2), channels, 16, torch.bfloat16
            yield (1, kernel, kernel), (8, 2, 2), (9, 7, size), channels, 2, torch.bfloat16
            yield (kernel, kernel), (1, 1), (2, size), channels, 9, torch.bfloat16
        for kernel, stride, frames, size in product((3, 5, 7), (1, 2, 3), range(2, 8), (1, 3)):
            yield (kernel, size, size), (stride, 1, 1), (frames, 4, 4), 8, 8, torch.bfloat16

    if "bf16" in sys.argv and threads == 1:  # frames beyond the second-level cache
        yield (1, 1, 1), (1, 1, 1), (1, 56, 56), 64, 128, torch.bfloat16
        yield (3, 1, 1), (1, 1, 1), (2, 56, 56), 64, 128, torch.bfloat16
        yield (3, 3, 3), (1, 1, 1), (2, 56, 56), 24, 54, torch.bfloat16
        yield (3, 7, 7), (1, 2, 2), (2, 112, 112), 3, 64, torch.bfloat16


def drawn_case(draw: random.Random) -> tuple[Sizes, Sizes, Sizes, int, int, torch.dtype]:
    """Any kernel, stride and size of two or three dimensions of which the output has at least one element."""
    dims = draw.choice((2, 3))
    kernel = tuple(draw.choice((1, 1, 3, 5, 7)) for _ in range(dims))
    stride = tuple(draw.choice((1, 1, 2, 2, 3, 4, 8)) for _ in range(dims))
    size = tuple(draw.randint(1, 20) for _ in range(dims))
    channels, outputs = (draw.choice((draw.randint(1, 17), draw.randint(18, 70))) for _ in range(2))
    return kernel, stride, size, channels, outputs, torch.bfloat16 if "bf16" in sys.argv else torch.float32


def check(kernel: Sizes, stride: Sizes, size: Sizes, channels: int, outputs: int, dtype: torch.dtype) -> None:
    padding = tuple(length // 2 for length in kernel)
    kind, plain = (Conv2d, F.conv2d) if len(kernel) == 2 else (Conv3d, F.conv3d)
    conv = kind(channels, outputs, kernel, stride=stride, padding=padding, bias=False).to(dtype)  # type: ignore[arg-type]
    memory = torch.channels_last if len(kernel) == 2 else torch.channels_last_3d
    x = torch.randn(2, channels, *size, dtype=dtype).contiguous(memory_format=memory).requires_grad_()
    found = conv(x)
    gradient = torch.randn_like(found)
    results = (found, *torch.autograd.grad(found, [x, conv.weight], gradient))

    def in_float64(values: list[Tensor]) -> tuple[Tensor, ...]:
        inner, weight, slope = (each.detach().double() for each in values)
        inner.requires_grad_()
        weight.requires_grad_()
        out = plain(inner, weight, None, stride, padding)
        return out, *torch.autograd.grad(out, [inner, weight], slope)

    given = [x, conv.weight, gradient]
    exact, magnitudes = in_float64(given), in_float64([each.abs() for each in given])
    counts = in_float64([torch.ones_like(each) for each in given])
    names = ("output", "input", "weight")
    for name, value, right, magnitude, count in zip(names, results, exact, magnitudes, counts, strict=True):
        bound = (count * 2.0**-24 + ROUNDING[dtype]) * magnitude
        if not bool(((value.double() - right).abs() <= bound).all()):
            raise SystemExit(f"{name} of {kernel}, stride {stride}, {channels} x {size}, {dtype}: not within rounding")


if __name__ == "__main__":
    torch.manual_seed(0)
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        for case in cases(threads):
            check(*case)
    if len(sys.argv) > 2:
        seconds, seed = map(int, sys.argv[-2:])
        draw, end, count = random.Random(seed), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            torch.set_num_threads(draw.choice((1, 2, 4)))
            case, count = drawn_case(draw), count + 1
            print(case, torch.get_num_threads(), flush=True)
            check(*case)
        print(f"{count} drawn cases are within rounding")
