"""Training steps of a recognizer in several variants, taken in turn, beside what its layers can reach at best.

    python benchmarks/engine.py RECIPE … --variant NAME [SOURCE] [OPTION=VALUE …] [--variant …] [--rounds 5] [--limit]

SOURCE is the `src` folder of another checkout (default: this one), an OPTION one of the recipe's, such as
runtime.precision=bf16 or model.gradient_checkpointing=true. Every variant has a process of its own, so that its peak
memory is its own, and a step is taken in each before the next one in any: the machine's moods hit all alike. A step is
forward, loss, backward and SGD on random pixels of the recipe's clip, in memory.

`--limit` adds the row's own limit: each convolution's forward and backward passes by themselves, in the better of the
two memory layouts, and the bytes that batch norm and ReLU cannot avoid (three passes over their input forward, seven
backward) at the speed of a copy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinema import config_of
from kinema.runtime import device as engine
from kinema.runtime.memory import peak_resident_gib

OWN_SOURCE = Path(__file__).parents[1] / "src"
PASSES = 10


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--variant", nargs="+", action="append", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--limit", action="store_true")
    options = parser.parse_args()
    print("| recipe | variant | median, s | fastest, s | of the first | peak GiB |\n|---|---|---|---|---|---|")
    for recipe in options.recipes:
        workers = {variant[0]: start(recipe, variant[1:], options.batch_size) for variant in options.variant}
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        memory: dict[str, float] = {}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                took, memory[name] = ask(worker, "step")
                seconds[name].append(took)
        first = statistics.median(next(iter(seconds.values())))
        for name, each in seconds.items():
            middle = statistics.median(each)
            print(f"| {recipe} | {name} | {middle:.3f} | {min(each):.3f} | {middle / first:.2f} | {memory[name]:.2f} |")
        if options.limit:
            convolutions, bytes_, total = ask(next(iter(workers.values())), "limit")
            print(f"| {recipe} | limit: convolutions {convolutions:.3f}, bytes {bytes_:.3f} | {total:.3f} | | | |")
        sys.stdout.flush()
        for worker in workers.values():
            worker.communicate("\n")


def start(recipe: str, settings: list[str], batch_size: int) -> subprocess.Popen[str]:
    sources = [each for each in settings if "=" not in each]
    environment = os.environ | {"PYTHONPATH": str(Path(sources[0]).absolute() if sources else OWN_SOURCE)}
    values = dict(each.split("=", 1) for each in settings if "=" in each)
    command = [sys.executable, __file__, "worker", recipe, json.dumps(values), str(batch_size)]
    worker = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ask(worker, "step")
    return worker


def ask(worker: subprocess.Popen[str], what: str) -> Any:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(what, file=worker.stdin, flush=True)
    return json.loads(worker.stdout.readline())


def work(recipe: str, values: str, batch_size: str) -> None:
    step, limit = prepared(recipe, json.loads(values), int(batch_size))
    for line in sys.stdin:
        if line.strip() == "step":
            started = time.perf_counter()
            step()
            took = time.perf_counter() - started
            print(json.dumps((took, peak_resident_gib())), flush=True)
        elif line.strip() == "limit":
            print(json.dumps(limit()), flush=True)


def prepared(
    recipe: str, values: dict[str, str], count: int
) -> tuple[Callable[[], None], Callable[[], tuple[float, float, float]]]:
    config = config_of(recipe, values)
    device = engine.pick_device(config.runtime)
    model = engine.to_device(config.model.build(), device, config.runtime).train()
    if getattr(config.runtime, "compile", False):
        engine.compile_blocks(model, config.runtime)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    frames, size = config.data.train_clip.sampling.frames, config.data.train_clip.crop.size
    clips = torch.randint(256, (count, frames, size, size, 3), dtype=torch.uint8).movedim(-1, 1)
    labels = torch.arange(count)

    def step() -> None:
        with engine.autocast(device, config.runtime):
            loss = nn.functional.cross_entropy(model(clips).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, lambda: limit_of(model, clips, engine.autocast(device, config.runtime))


def limit_of(model: Any, clips: Any, autocast: Any) -> tuple[float, float, float]:
    """Seconds of the convolutions, of the bytes of normalisation and activation, and of both."""

    convolutions: Counter[Any] = Counter()
    normalised = []

    def note(module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            shape = tuple(inputs[0].shape)
            convolutions[shape, module.out_channels, module.kernel_size, module.stride, module.padding] += 1
        else:
            normalised.append(inputs[0].numel() * inputs[0].element_size())

    kinds = nn.Conv2d | nn.Conv3d | nn.BatchNorm2d | nn.BatchNorm3d
    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, kinds)]
    with autocast, torch.no_grad():
        model(clips)
    for hook in hooks:
        hook.remove()
    dtype = torch.bfloat16 if autocast._enabled else torch.float32
    alone = sum(number * best_time(shapes, dtype) for shapes, number in convolutions.items())
    half = max(normalised) // 2
    source, target = torch.empty(half, dtype=torch.uint8), torch.empty(half, dtype=torch.uint8)
    copy = min(timed(lambda: target.copy_(source)) for _ in range(10))
    bytes_ = sum(normalised) * PASSES / (2 * half / copy)
    return alone, bytes_, alone + bytes_


def best_time(shapes: tuple[Any, ...], dtype: Any) -> float:
    """Seconds of one convolution's passes in the better memory layout; no gradient of its input if that is the clip."""
    shape, channels, kernel, stride, padding = shapes
    if dtype == torch.bfloat16 and stride[0] > kernel[0] > 1:
        stride = (kernel[0], *stride[1:])  # oneDNN 3.12 writes beyond its memory in these
    is_3d, from_clip = len(kernel) == 3, shape[1] == 3
    convolve = nn.functional.conv3d if is_3d else nn.functional.conv2d
    layouts = [torch.contiguous_format, torch.channels_last_3d if is_3d else torch.channels_last]
    found = []
    for layout in layouts:
        x = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_(not from_clip)
        weight = torch.randn(channels, shape[1], *kernel, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
        gradient = torch.ones_like(convolve(x, weight, None, stride, padding))
        wanted = [weight] if from_clip else [x, weight]

        def both() -> None:
            out = convolve(x, weight, None, stride, padding)  # noqa: B023
            torch.autograd.grad(out, wanted, gradient)  # noqa: B023

        found.append(min(timed(both) for _ in range(4)))
    return min(found)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
