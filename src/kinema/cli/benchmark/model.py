"""`kinema benchmark model RECIPE [--group.option value …]`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.benchmark.model import benchmark_model
from kinema.benchmark.pages.tables import seconds
from kinema.cli.arguments import parse, split
from kinema.console import print_table


@dataclass(kw_only=True)
class Options:
    """Measure a recipe's model alone, on batches that are there already: latency, throughput, memory.

    Any option of the recipe may be changed by its key: --data.batch-size, --runtime.precision …
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A name that `kinema recipes` lists, or my_file.py:function."""
    batch_size: Annotated[int | None, Ge(1)] = None
    """Samples of a batch; the recipe's when not given."""
    iters: Annotated[int, Ge(1)] = 20
    """Iterations of each kind that count."""
    skip: Annotated[int, Ge(0)] = 3
    """Iterations of each kind before."""
    json: bool = False
    """Print JSON: {"train": {"mean", "median", "p95"}, "infer", "latency", "samples_per_s", "trained_per_s",
    "infer_memory_gib", "train_memory_gib", "flops", "parameters", …}; times in seconds."""


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark model")
    changes: dict[str, object] = dict(keys)
    if options.batch_size is not None:
        changes["data.batch_size"] = str(options.batch_size)
    found = benchmark_model(options.recipe, changes, iters=options.iters, skip=options.skip)
    if options.json:
        print(strict_json.dumps(asdict(found), indent=1))
        return 0
    shape = "×".join(map(str, found.input))
    times = {
        f"training step, {shape}": (found.train, found.trained_per_s, f"{found.train_memory_gib:.2f}"),
        f"forward pass, {shape}": (found.infer, found.samples_per_s, f"{found.infer_memory_gib:.2f}"),
        "forward pass of one sample": (found.latency, 1 / found.latency.mean, ""),
    }
    print_table(
        ["", "mean (s)", "median", "95 %", "samples/s", "memory (GiB)"],
        [
            [name, seconds(each.mean), seconds(each.median), seconds(each.p95), f"{rate:.3g}", memory]
            for name, (each, rate, memory) in times.items()
        ],
    )
    print(
        f"{found.parameters / 1e6:.2f} M parameters, {found.flops / 1e9:.2f} GFLOPs a sample; {found.precision}; "
        f"{found.machine}"
    )
    return 0
