"""Training steps of a recipe's network on clips in the device's memory, and their times."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.gpu.runner import Context
from torch.utils.flop_counter import FlopCounterMode

from kinema import build_model, config_of
from kinema.data.samples import Batch
from kinema.runtime.device import RuntimeOptions, autocast, compile_blocks, set_gpu_arithmetic, to_device
from kinema.tasks.recognition.losses import training_loss
from kinema.training.optimization.optimizer import make_optimizer

NETWORKS = {
    "TSN r50": "tsn_r50_1x1x3_100e_kinetics400_rgb",
    "TSM r50": "tsm_r50_1x1x8_50e_kinetics400_rgb",
    "I3D r50 32x2": "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "SlowOnly r50 4x16": "slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
    "SlowFast r50 4x16": "slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
    "R(2+1)D r34 8x8": "r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb",
    "X3D-M": "x3d_m_16x5_kinetics400",
    "ViT-B (VideoMAE)": "videomae_b_16x4_kinetics400",
    "ViT-L (VideoMAE)": "videomae_l_16x4_kinetics400",
}
"""Recipes by the name in the tables."""
SHORT = {"TSM r18 narrow": "tsm_r18_video_1x1x8_sample_rgb", "ViT small": "videomae_s_16x4_small"}
BEST = RuntimeOptions(precision="bf16")


def networks(context: Context) -> Mapping[str, str]:
    """The recipes to measure."""
    return SHORT if context.short else NETWORKS


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Seconds of a step."""

    device: float
    """Until the device has finished, the median of several blocks of steps."""
    host: float
    """Until everything is queued: if this is not below `device`, the host is the limit."""


class Stepper:
    """A network with its optimizer and a batch."""

    def __init__(self, recipe: str, device: torch.device, batch_size: int, runtime: RuntimeOptions) -> None:
        if device.type == "cuda":
            set_gpu_arithmetic(runtime)
        torch.manual_seed(0)
        self.config = config_of(recipe, {"model.pretrained": "none"} if "tsm" in recipe or "tsn" in recipe else {})
        self.device, self.runtime, self.batch_size = device, runtime, batch_size
        self.model = to_device(build_model(recipe), device, runtime).train()
        if runtime.compile:
            compile_blocks(self.model, runtime)
        self.optimizer = make_optimizer(self.model, self.config.optim, total_batch=batch_size)
        self.scaler = torch.amp.GradScaler(device.type, enabled=runtime.precision == "fp16")
        self.batch = batch_of(self.config, batch_size, device)

    def step(self) -> None:
        """Take a training step."""
        if self.runtime.compile == "graphs":
            torch.compiler.cudagraph_mark_step_begin()
        with autocast(self.device, self.runtime):
            loss, _ = training_loss(self.model, self.batch, self.config.task)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def time(self, *, seconds: float = 0.5, blocks: int = 3, warmup: int = 3) -> Timed:
        """Time steps in blocks."""
        if self.device.type == "cuda":
            set_gpu_arithmetic(self.runtime)
        return timed(self.step, self.device, seconds=seconds, blocks=blocks, warmup=warmup)


def batch_of(config: Any, size: int, device: torch.device) -> Batch[torch.Tensor]:
    """Return random clips of a recipe's shape in channels-last memory."""
    frames, side = config.data.train_clip.sampling.frames, config.data.train_clip.crop.size
    frames *= getattr(config.data.train_clip.sampling, "num_clips", 1) if frames == 1 else 1
    shape = (size, 1, frames, side, side, 3)
    clips = torch.empty(shape, dtype=torch.uint8, device=device)
    if device.type != "meta":
        clips.random_(256)
    return Batch(clips.movedim(-1, 3), torch.zeros(size, dtype=torch.int64, device=device), torch.arange(size))


def timed(step: Callable[[], object], device: torch.device, *, seconds: float, blocks: int, warmup: int) -> Timed:
    """Time a step by CUDA events, on a CPU by the clock."""
    for _ in range(warmup):
        step()
    once = _block(step, device, 1)[0]
    count = max(1, min(50, int(seconds / max(once, 1e-4) / blocks)))
    results = [_block(step, device, count) for _ in range(blocks)]
    return Timed(device=statistics.median(one for one, _ in results), host=statistics.median(two for _, two in results))


def _block(step: Callable[[], object], device: torch.device, count: int) -> tuple[float, float]:
    """Seconds per step on the device, and on the host."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(count):
            step()
        seconds = (time.perf_counter() - began) / count
        return seconds, seconds
    torch.cuda.synchronize(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began = time.perf_counter()
    start.record()
    for _ in range(count):
        step()
    end.record()
    host = (time.perf_counter() - began) / count
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000 / count, host


def clip_flops(recipe: str) -> int:
    """FLOPs of the forward and backward passes of one clip: convolutions and matrix products. Needs no device."""
    meta = torch.device("meta")
    with meta:
        model = build_model(recipe).train()
    config = config_of(recipe)
    batch = batch_of(config, 1, meta)
    with FlopCounterMode(display=False) as counter:
        training_loss(model, batch, config.task)[0].backward()
    return counter.get_total_flops()
