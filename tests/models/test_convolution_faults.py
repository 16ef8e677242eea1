"""Convolutions are right on every CPU, emulated in processes of their own; and whether oneDNN's faults still exist."""

import subprocess

import pytest

from tests.emulated import CPUS, run

WITHOUT_GUARD = """
import torch, torch.nn.functional as F
for _ in range(200):
    x = torch.randn(2, 2, 16, 12).to(memory_format=torch.channels_last)
    w = torch.randn(8, 2, 1, 1, requires_grad=True)
    F.conv2d(x, w, stride=2).sum().backward()
    assert torch.allclose(w.grad[:, :, 0, 0], x[:, :, ::2, ::2].sum((0, 2, 3)).expand(8, 2), atol=1e-2)
"""
"""The smallest program that meets oneDNN issue 6035."""


@pytest.mark.parametrize(
    "isa", [isa if isa in ("AVX2", "DEFAULT") else pytest.param(isa, marks=pytest.mark.slow) for isa in CPUS]
)
def test_outputs_and_gradients_are_right_on_every_cpu(isa: str) -> None:
    # Emulated, bfloat16 takes twenty times as long; its faults are AMX's.
    types = ["bf16"] if isa == "DEFAULT" else []
    done = run("-m", "tests.models.convolution_gradients", *types, isa=isa, seconds=300, check_memory=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_fault_that_small_pointwise_convolutions_are_guarded_from_still_exists() -> None:
    """Where this fails, oneDNN issue 6035 has been mended: `convolution._BLOCK` and what it guards can go."""
    try:
        wrong = run("-c", WITHOUT_GUARD, isa="AVX2", seconds=60, check_memory=True).returncode != 0
    except subprocess.TimeoutExpired:
        wrong = True
    if not wrong:
        pytest.fail("oneDNN computes strided 1x1 convolutions of few channels: the guard in convolution.py can go")
