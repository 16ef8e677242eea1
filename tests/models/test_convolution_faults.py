"""Convolutions are right on every CPU, emulated in processes of their own; and whether oneDNN's faults still exist."""

import subprocess

import pytest

from tests.emulated import CPUS, has_amx, run

POINTWISE = """
import torch, torch.nn.functional as F
for _ in range(200):
    x = torch.randn(2, 2, 16, 12).to(memory_format=torch.channels_last)
    w = torch.randn(8, 2, 1, 1, requires_grad=True)
    F.conv2d(x, w, stride=2).sum().backward()
    assert torch.allclose(w.grad[:, :, 0, 0], x[:, :, ::2, ::2].sum((0, 2, 3)).expand(8, 2), atol=1e-2)
"""
"""The smallest program that meets oneDNN issue 6035."""

SHORT_CLIP = """
import torch, torch.nn.functional as F
x = torch.randn(2, 8, 2, 7, 7).bfloat16().to(memory_format=torch.channels_last_3d)
w = torch.zeros(8, 8, 3, 1, 1, dtype=torch.bfloat16, requires_grad=True)
F.conv3d(x, w, padding=(1, 0, 0)).sum().backward()
frames = x.double().sum((0, 3, 4))  # the taps see the first frame, both, and the second one
right = torch.stack([frames[:, 0], frames.sum(1), frames[:, 1]], 1)
assert torch.allclose(w.grad[:, :, :, 0, 0].double(), right.expand(8, 8, 3), atol=1, rtol=0.01)
"""
"""The smallest program whose weight gradient is wrong in `jit_avx512_core_bf16_conv_kernel.cpp`."""
LARGE_FRAMES = """
import torch, torch.nn.functional as F
torch.set_num_threads(1)
x = torch.randn(1, 256, 1, 56, 56).bfloat16().to(memory_format=torch.channels_last_3d)
w = torch.zeros(256, 256, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
F.conv3d(x, w).sum().backward()
assert torch.allclose(w.grad.flatten(1).double(), x.double().sum((0, 2, 3, 4)).expand(256, 256), atol=1, rtol=0.01)
"""
"""The smallest program whose weight gradient is wrong in `jit_brgemm_conv_bwd_w.cpp`."""
NATIVE_BFLOAT16 = ("AVX512_CORE_BF16", "DEFAULT")[not has_amx() :] if "AVX512_CORE_BF16" in CPUS else ()
"""Emulated, bfloat16 takes twenty times as long. Without AMX the two are the same."""


@pytest.mark.parametrize(
    "isa",
    [isa if isa in ("AVX2", *NATIVE_BFLOAT16[-1:]) else pytest.param(isa, marks=pytest.mark.slow) for isa in CPUS],
)
def test_outputs_and_gradients_are_right_on_every_cpu(isa: str) -> None:
    types = ["bf16"] if isa in NATIVE_BFLOAT16 else []
    done = run("-m", "tests.models.convolution_gradients", *types, isa=isa, seconds=300, check_memory=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_fault_that_small_pointwise_convolutions_are_guarded_from_still_exists() -> None:
    """Where this fails, oneDNN issue 6035 has been mended: `convolution._BLOCK` and what it guards can go."""
    try:
        wrong = run("-c", POINTWISE, isa="AVX2", seconds=60, check_memory=True).returncode != 0
    except subprocess.TimeoutExpired:
        wrong = True
    if not wrong:
        pytest.fail("oneDNN computes strided 1x1 convolutions of few channels: the guard in convolution.py can go")


@pytest.mark.skipif("AVX512_CORE_BF16" not in CPUS, reason="the processor has no AVX-512 for bfloat16")
def test_the_fault_that_short_clips_are_guarded_from_still_exists() -> None:
    done = run("-c", SHORT_CLIP, isa="AVX512_CORE_BF16", seconds=60)
    assert "AssertionError" in done.stderr, "oneDNN computes clips shorter than the kernel: see convolution.Conv3d"


@pytest.mark.skipif(not has_amx(), reason="the processor has no AMX")
def test_the_fault_that_large_frames_are_guarded_from_still_exists() -> None:
    """Where this and the test before fail, oneDNN has been mended: `convolution._WithWeight` can go."""
    done = run("-c", LARGE_FRAMES, isa="DEFAULT", seconds=60)
    assert done.returncode != 0, "oneDNN computes the weight gradients of large frames: see convolution.Conv3d"
