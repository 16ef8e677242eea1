"""Scores, loss and gradients of every family on the device, beside float64 on the CPU.

Networks are narrow and their clips small, so that float64 takes seconds. Batch norm uses fixed statistics, as those of
few pixels amplify rounding at will; in fp32 a step in training mode is compared as well.

fp32 (without TF32) passes within 1e-4 of the norm, or four times the error of the CPU's fp32 where that is larger. What
bf16 may be off is what rounding does to the network: four times the error of torch's own bf16 operators on the CPU
without oneDNN. fp16 has three bits more and must stay within the same bound.
"""

from copy import deepcopy
from typing import Any

import torch
from benchmarks.gpu.runner import Context
from tests.models.families import LOCALIZERS, RECOGNIZERS, features, pixels, small_localizer, small_model
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kinema.runtime.device import RuntimeOptions, autocast, set_gpu_arithmetic, to_device

FACTOR = 4.0
FP32 = 1e-4
LARGEST = 1e-2
"""A larger error of the CPU's fp32 is a fault and no bound."""
SHORT = ("tsm", "slowfast", "videomae", "bmn")
SCALE = 1024.0
"""Factor on the loss in fp16, whose small gradients would vanish."""

Results = dict[str, Tensor]


def run(context: Context) -> None:
    """Compare every family in every precision."""
    if context.gpu:
        set_gpu_arithmetic(RuntimeOptions(tf32=False, cudnn_benchmark=False))
    for name in (*RECOGNIZERS, *LOCALIZERS):
        if context.short and name not in SHORT:
            continue
        try:
            _compare(context, name)
        except Exception as error:  # one family's failure must not hide the others
            context.emit("families", network=name, ok=False, error=f"{type(error).__name__}: {str(error)[:200]}")
            if "CUDA error" in str(error):
                raise


def _compare(context: Context, name: str) -> None:
    recognizer = name in RECOGNIZERS
    model = small_model(name, drop_path=0.0) if recognizer else small_localizer(name)
    inputs = pixels(name).float() / 255 - 0.5 if recognizer else features(model)
    for mode in ("eval", "train"):
        model.train(mode == "train")
        for module in model.modules():
            if isinstance(module, nn.Dropout) or type(module).__name__ == "StochasticDepth":
                module.p = 0.0
        exact = results(deepcopy(model).double(), inputs.double(), "fp32", torch.device("cpu"))
        on_cpu = errors(results(model, inputs, "fp32", torch.device("cpu")), exact)
        bounds = {"fp32": {key: min(max(FP32, FACTOR * value), LARGEST) for key, value in on_cpu.items()}}
        if mode == "eval":
            with torch.backends.mkldnn.flags(enabled=False):
                plain = errors(results(model, inputs, "bf16", torch.device("cpu")), exact)
            low = {key: FACTOR * max(value, 2**-8) for key, value in plain.items()}
            bounds |= {"bf16": low} | ({"fp16": low} if context.gpu else {})
        for precision, bound in bounds.items():
            own = errors(results(model, inputs, precision, context.device), exact)
            context.emit(
                "families", network=name, mode=mode, precision=precision,
                ok=all(own[key] <= bound[key] for key in own),
                **{f"{key}_error": value for key, value in own.items()},
                **{f"{key}_bound": value for key, value in bound.items()},
            )  # fmt: skip


def results(model: nn.Module, inputs: Tensor, precision: Any, device: torch.device) -> Results:
    """Return scores, loss and all gradients, in float64 on the CPU."""
    runtime = RuntimeOptions(precision=precision)
    model = to_device(deepcopy(model), device, runtime)
    with autocast(device, runtime):
        outputs = model(inputs.to(device))
    scores = torch.cat([each.flatten() for each in tree_leaves(outputs)])
    scores = scores if scores.dtype == torch.float64 else scores.float()
    loss, scale = scores.square().mean(), SCALE if precision == "fp16" else 1.0
    (loss * scale).backward()
    gradients = [weight.grad.flatten() / scale for weight in model.parameters() if weight.grad is not None]
    values = {"scores": scores, "loss": loss, "gradients": torch.cat(gradients)}
    return {key: value.detach().double().cpu() for key, value in values.items()}


def errors(values: Results, exact: Results) -> dict[str, float]:
    """Return the norms of the differences, relative to those of the exact values."""
    return {key: float((values[key] - exact[key]).norm() / exact[key].norm()) for key in exact}
