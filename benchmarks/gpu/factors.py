"""One option after the other: precision, memory format, cuDNN's choice, compilation, for a 2D, a 3D network and a ViT.

The variants of a network take turns in blocks of steps. Precisions come first; the other options are changed in the
fastest one of fp32, TF32, bf16 and fp16. What `--runtime.* auto` picks is compared with the fastest that it can pick.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.gpu.runner import Context
from benchmarks.gpu.stepping import NETWORKS, SHORT, Stepper
from torch import nn

from kinema import config_of
from kinema.runtime.device import RuntimeOptions, set_gpu_arithmetic
from kinema.tasks.recognition.losses import training_loss
from kinema.training import tuning
from kinema.training.task import Loss

CHOSEN = ("TSM r50", "SlowFast r50 4x16", "ViT-B (VideoMAE)")
FP32 = RuntimeOptions(tf32=False)
NEAR = 1.05
"""What `auto` picks may be slower than the fastest by so much, which is noise."""


def run(context: Context) -> None:
    """Measure each network's variants."""
    chosen = SHORT if context.short else {name: NETWORKS[name] for name in CHOSEN}
    for name, recipe in chosen.items():
        if context.left() < 10:
            context.emit("options", network=name, left_out="no time left")
            continue
        size = 2 if context.short else config_of(recipe).data.batch_size
        _variants(context, name, recipe, size)
    if not context.gpu:
        context.emit("options", network="all", left_out="fp16, TF32, cudnn_benchmark and CUDA graphs need a GPU")


def _variants(context: Context, name: str, recipe: str, size: int) -> None:
    precisions = {"fp32": FP32, "bf16": RuntimeOptions(precision="bf16")}
    if context.gpu:
        precisions |= {"TF32": RuntimeOptions(), "fp16": RuntimeOptions(precision="fp16")}
    times = _times(context, name, recipe, size, precisions)
    best = min(times, key=lambda each: times[each])
    options = precisions[best]
    others = {f"{best}, channels_last false": replace(options, channels_last=False)}
    if context.gpu:
        others[f"{best}, cudnn_benchmark false"] = replace(options, cudnn_benchmark=False)
    if not context.short:
        others[f"{best}, compile true"] = replace(options, compile=True)
        if context.gpu:
            others[f"{best}, compile graphs"] = replace(options, compile="graphs")
    times |= _times(context, name, recipe, size, others, beside=times["fp32"])
    if context.short or context.left() < 15:
        context.emit("auto", network=name, left_out="no time left, or --short")
        return
    _auto(context, name, recipe, size, times, best)


def _times(
    context: Context, name: str, recipe: str, size: int, variants: dict[str, RuntimeOptions], beside: float = 0.0
) -> dict[str, float]:
    """Times of the variants, which take turns, in seconds per step."""
    steppers: dict[str, Stepper] = {}
    for variant, options in variants.items():
        try:
            steppers[variant] = Stepper(recipe, context.device, size, options)
            steppers[variant].time(seconds=0.05, blocks=1)  # compiles
        except Exception as error:
            steppers.pop(variant, None)
            text = f"{type(error).__name__}: {str(error)[:150]}"
            context.emit("options", network=name, variant=variant, ok=False, error=text)
    rounds: dict[str, list[float]] = {variant: [] for variant in steppers}
    for _ in range(1 if context.short else 3):
        for variant, stepper in steppers.items():
            rounds[variant].append(stepper.time(seconds=0.2, blocks=1, warmup=1).device)
    times = {variant: min(seconds) for variant, seconds in rounds.items()}
    first = beside or next(iter(times.values()))
    for variant, seconds in times.items():
        context.emit(
            "options", network=name, variant=variant, batch_size=size, ms=1000 * seconds,
            clips_per_s=size / seconds, of_fp32=seconds / first,
        )  # fmt: skip
    return times


class _Trial:
    """What tuning asks of a task: a model and its loss."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper

    def empty_model(self) -> nn.Module:
        return self._stepper.config.model.build()

    def loss(self, network: nn.Module, batch: Any) -> Loss:
        return Loss(training_loss(network, batch, self._stepper.config.task)[0], {})


def _auto(context: Context, name: str, recipe: str, size: int, times: dict[str, float], best: str) -> None:
    stepper = Stepper(recipe, context.device, size, FP32)
    set_gpu_arithmetic(RuntimeOptions())
    trial: Any = _Trial(stepper)
    step_time: Callable[[RuntimeOptions], float] = lambda options: tuning.step_time(  # noqa: E731
        options, trial, context.device, stepper.batch
    )
    picked = tuning.choose(RuntimeOptions(precision="auto", channels_last="auto", compile="auto"), step_time)
    label = "TF32" if picked.precision == "fp32" and context.gpu else str(picked.precision)
    if picked.compile:
        label = f"{best}, compile true"
    elif not picked.channels_last:
        label = f"{best}, channels_last false"
    possible = {
        variant: seconds for variant, seconds in times.items() if not variant.startswith(("fp16", "fp32"))
        and "graphs" not in variant and "cudnn" not in variant
    }  # fmt: skip
    fastest = min(possible, key=lambda each: possible[each])
    context.emit(
        "auto", network=name,
        picked=f"{picked.precision}, channels_last {picked.channels_last}, compile {picked.compile}",
        measured_as=label, fastest=fastest,
        ok=label in times and times[label] <= NEAR * possible[fastest],
    )  # fmt: skip
