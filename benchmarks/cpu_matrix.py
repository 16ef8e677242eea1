"""Training steps of every recipe's network on emulated CPUs, with memory checked: counts corruptions and hangs.

    python -m benchmarks.cpu_matrix [--isa AVX2 …] [--networks PATTERN] [--short] [--json FILE]

A network takes one step (forward, loss, backward) with 1 and 2 clips of 64×64 pixels, on 1 and on 2 threads, in
float32, and one network of each family in bfloat16, too. To the recipes' networks come narrow ones of each family
(depth 18, width 8 to 32), as small data and small machines call for. Instruction sets are limited by
`ONEDNN_MAX_CPU_ISA` and `ATEN_CPU_CAPABILITY`; glibc checks the heap (`MALLOC_CHECK_=3`). A process that dies is one
corruption, one that says nothing for `--patience` seconds a hang, and a gradient that is not finite a wrong result; the
next process goes on behind it.

`--short` takes the narrow networks alone, in bfloat16 on AVX512_CORE_BF16 only, where it is not emulated. The exit code
is 1 if anything went wrong.
"""

import argparse
import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tests.emulated import CPUS, environment
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kinema.config import options_from
from kinema.models import options_class
from kinema.recipes import LOCALIZERS, RECOGNIZERS
from kinema.training import TrainConfig

SIZE = 64
FAMILIES = ("tsn", "tsm", "i3d", "slowonly", "slowfast", "r2plus1d", "x3d")
WIDTHS = (8, 16, 32)
CANDIDATES = 100  # of a video, where each is an input of its own
WIDEST = 768  # channels of a ViT-B: larger transformers have the same layers


@dataclass(frozen=True)
class Job:
    """One training step."""

    network: str
    threads: int
    batch: int
    dtype: str


def networks() -> dict[str, Callable[[], nn.Module]]:
    """Distinct networks of the recipes, by the first recipe that has each, and narrow ones of each family."""
    found: dict[str, Callable[[], nn.Module]] = {}
    seen: set[str] = set()
    for name, recipe in RECOGNIZERS.items():
        config = recipe()
        options = replace(config.model, num_classes=8)
        key = f"{options} {config.data.train_clip.sampling.frames}"
        if key not in seen and getattr(options, "width", 0) <= WIDEST:
            seen.add(key)
            if hasattr(options, "size"):  # a transformer is built for clips of one size
                options = replace(options, size=SIZE)
            found[name] = lambda options=options: options.build()
    for name, recipe in LOCALIZERS.items():
        config = recipe()
        if isinstance(config, TrainConfig) and str(config.model) not in seen:
            seen.add(str(config.model))
            found[name] = lambda options=config.model: options.build()
    for family, width in product(FAMILIES, WIDTHS):
        depth = {} if family == "x3d" else {"depth": 18}
        options = options_from(options_class(family), depth | {"width": width, "num_classes": 8}, origin=family)
        found[f"{family}_width{width}"] = lambda options=options: options.build()
    return found


def frames_of(name: str) -> int:
    """Frames of a network's clips; narrow ones see 8, or 16."""
    if name in RECOGNIZERS:
        return RECOGNIZERS[name]().data.train_clip.sampling.frames
    return 16 if name.startswith(("i3d", "slowfast")) else 8


def jobs(names: list[str], isa: str, *, short: bool) -> Iterator[Job]:
    """The steps, the cheap ones of a network together; bfloat16 for the narrow networks of width 16."""
    bf16 = not short or isa == "AVX512_CORE_BF16"
    for name in names:
        types = ["fp32", "bf16"] if name.endswith("_width16") and bf16 else ["fp32"]
        for dtype, threads, batch in product(types, (1, 2), (1, 2)):
            yield Job(name, threads, batch, dtype)


def inputs_of(name: str, model: nn.Module, batch: int) -> Tensor:
    """Random pixels, or features."""
    if name in LOCALIZERS:
        config = LOCALIZERS[name]()
        assert isinstance(config, TrainConfig)
        shape = config.task.input_shape(config)
        return torch.randn(batch * (1 if len(shape) > 1 else CANDIDATES), *shape)
    channels, size = model.input.channels, model.input.size or SIZE
    return torch.randint(256, (batch, frames_of(name), size, size, channels), dtype=torch.uint8).movedim(-1, 1)


def step(job: Job) -> bool:
    """Take a step; returns whether loss and gradients are finite."""
    torch.manual_seed(0)
    torch.set_num_threads(job.threads)
    model = networks()[job.network]().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=job.dtype == "bf16"):
        out = model(inputs_of(job.network, model, job.batch))
    loss = torch.stack([output.float().square().mean() for output in tree_leaves(out)]).sum()
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())


def work() -> None:
    """Take the steps that standard input lists, and say when each begins and how it ended."""
    for values in json.load(sys.stdin):
        print("step", flush=True)
        print("right" if step(Job(**values)) else "wrong", flush=True)


def outcomes(todo: list[Job], isa: str, patience: float) -> Iterator[tuple[Job, str]]:
    """How each step ended: "right", "wrong", "corruption" or "hang"."""
    while todo:
        command = [sys.executable, "-m", "benchmarks.cpu_matrix", "worker"]
        process = subprocess.Popen(
            command, env=environment(isa, check_memory=True), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps([asdict(job) for job in todo]))
        process.stdin.close()
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        begun = 0
        while todo:
            try:
                line = lines.get(timeout=patience)
            except queue.Empty:
                line = "hang"
            if line == "step":
                begun += 1
                continue
            if line == "" and not begun:
                raise SystemExit("the worker ended before its first step")
            yield todo.pop(0), line or "corruption"
            if line in ("", "hang"):
                break
        process.kill()
        process.wait()


def _read(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line.strip())
    lines.put("")  # the end


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", nargs="+", choices=CPUS, default=CPUS)
    parser.add_argument("--networks", default="*", help="a pattern of their names")
    parser.add_argument("--short", action="store_true", help="narrow networks only")
    parser.add_argument(
        "--patience", type=float, default=300, help="seconds without a word after which a process hangs"
    )
    parser.add_argument("--json", type=Path, help="a file for the outcomes; steps that it has are not taken again")
    options = parser.parse_args()
    names = [name for name in networks() if fnmatch(name, options.networks)]
    if options.short:
        names = [name for name in names if "_width" in name]
    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())
    print(
        "| ISA | threads | dtype | networks | steps | corruptions | hangs | wrong |\n|---|---|---|---|---|---|---|---|"
    )
    for isa in options.isa:
        taken = [row for row in rows if row["isa"] == isa]
        todo = [
            job
            for job in jobs(names, isa, short=options.short)
            if not any(asdict(job).items() <= row.items() for row in taken)
        ]
        for job, outcome in outcomes(todo, isa, options.patience):
            rows.append({"isa": isa, **asdict(job), "outcome": outcome})
            if outcome != "right":
                print(f"{outcome}: {isa} {job}", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1))
        ended: dict[tuple[int, str], Counter[str]] = {}
        for row in rows:
            if row["isa"] == isa:
                ended.setdefault((row["threads"], row["dtype"]), Counter())[row["outcome"]] += 1
        for (threads, dtype), counts in sorted(ended.items()):
            several = len({row["network"] for row in rows if (row["isa"], row["dtype"]) == (isa, dtype)})
            figures = (counts.total(), counts["corruption"], counts["hang"], counts["wrong"])
            print(f"| {isa} | {threads} | {dtype} | {several} | {' | '.join(map(str, figures))} |", flush=True)
    return int(any(row["outcome"] != "right" for row in rows))


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        work()
    else:
        sys.exit(main())
