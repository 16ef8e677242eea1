"""`kinema benchmark model RECIPE [--group.option value …]`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.cli.arguments import parse, split
from kinema.console import print_table


@dataclass(kw_only=True)
class Options:
    """Measure a recipe's model on a batch already in memory: latency, throughput, memory.

    Any option of the recipe may be changed by its key: --data.batch-size, --runtime.precision …
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """Name listed by `kinema recipes`, or my_file.py:function."""
    batch_size: Annotated[int | None, Ge(1)] = None
    """Samples per batch; None: as in the recipe."""
    iters: Annotated[int, Ge(1)] = 20
    """Timed iterations of each kind."""
    skip: Annotated[int, Ge(0)] = 3
    """Warm-up iterations of each kind, before the timed ones."""
    json: bool = False
    """Print JSON: {"train": {"mean", "median", "p95"}, "infer", "latency", "samples_per_s", "trained_per_s",
    "infer_memory_gib", "train_memory_gib", "flops", "parameters", …}; times in seconds."""


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark model")
    from kinema.benchmark.model import benchmark_model
    from kinema.benchmark.pages.tables import seconds

    changes: dict[str, object] = dict(keys)
    if options.batch_size is not None:
        changes["data.batch_size"] = str(options.batch_size)
    figures = benchmark_model(options.recipe, changes, iters=options.iters, skip=options.skip)
    if options.json:
        print(strict_json.dumps(asdict(figures), indent=1))
        return 0
    shape = "×".join(map(str, figures.input))
    times = {
        f"training step, {shape}": (figures.train, figures.trained_per_s, f"{figures.train_memory_gib:.2f}"),
        f"forward pass, {shape}": (figures.infer, figures.samples_per_s, f"{figures.infer_memory_gib:.2f}"),
        "forward pass of one sample": (figures.latency, 1 / figures.latency.mean, ""),
    }
    print_table(
        ["", "mean (s)", "median", "95 %", "samples/s", "memory (GiB)"],
        [
            [name, seconds(time.mean), seconds(time.median), seconds(time.p95), f"{rate:.3g}", memory]
            for name, (time, rate, memory) in times.items()
        ],
    )
    print(
        f"{figures.parameters / 1e6:.2f} M parameters, {figures.flops / 1e9:.2f} GFLOPs per sample; "
        f"{figures.precision}; {figures.machine}"
    )
    return 0
