"""Seconds of a recognizer's training step in memory: forward, loss, backward, the optimizer's step. No data is read.

    python benchmarks/step_times.py [RECIPE …] [--batch-size 2] [--precisions fp32 bf16] [--threads 2]

Seconds of CPU are those of all threads together: they say on a busy machine what a step costs, where OMP_WAIT_POLICY is
passive. By default the recipes of the benchmark and what they are derived from, one for each network and clip.
`kinema benchmark train` measures the same in a whole run, with its data.
"""

import argparse
import statistics
import time

import torch

from kinema import build_model, config_of
from kinema.data.samples import Batch
from kinema.runtime.device import RuntimeOptions, autocast, to_device
from kinema.tasks.recognition.losses import training_loss
from kinema.training import TrainConfig
from kinema.training.optimization.optimizer import make_optimizer

RECIPES = (
    "tsn_r50_1x1x3_100e_kinetics400_rgb",
    "tsm_r50_1x1x8_50e_kinetics400_rgb",
    "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb",
    "i3d_r50_video_8x8x1_100e_kinetics400_rgb",
    "slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
    "slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
    "r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", type=int, default=1, help="steps before those that count")
    parser.add_argument("--steps", type=int, default=3, help="steps of which the median is taken")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| recipe | clip |", *(f"{precision}, s | of CPU |" for precision in options.precisions))
    print("|---|---|" + "---|---|" * len(options.precisions))
    for name in options.recipes:
        config = config_of(name)
        frames, size = config.data.train_clip.sampling.frames, config.data.train_clip.crop.size
        print(f"| {name} | {frames}×{size}² |", end="")
        for precision in options.precisions:
            seconds, cpu = map(statistics.median, zip(*step_times(config, precision, options), strict=True))
            print(f" {seconds:.2f} | {cpu:.2f} |", end="", flush=True)
        print()


def step_times(config: TrainConfig, precision: str, options: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds of each step that counts, and seconds of CPU of all threads together."""
    runtime, device = RuntimeOptions(device="cpu", precision=precision), torch.device("cpu")  # type: ignore[arg-type]
    model = to_device(build_model(config.recipe), device, runtime).train()
    optimizer = make_optimizer(model, config.optim, total_batch=options.batch_size)
    frames, size, count = config.data.train_clip.sampling.frames, config.data.train_clip.crop.size, options.batch_size
    clips = torch.randint(0, 256, (count, 1, frames, size, size, 3), dtype=torch.uint8).movedim(-1, 3)
    batch = Batch(inputs=clips, targets=torch.arange(count), rows=torch.arange(count))
    times = []
    for _ in range(options.skip + options.steps):
        started, cpu = time.perf_counter(), time.process_time()
        with autocast(device, runtime):
            loss, _ = training_loss(model, batch, config.task)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append((time.perf_counter() - started, time.process_time() - cpu))
    return times[options.skip :]


if __name__ == "__main__":
    main()
