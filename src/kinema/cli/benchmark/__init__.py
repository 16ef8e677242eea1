"""`kinema benchmark WHAT …`: a module of this package for each."""

from collections.abc import Sequence

from kinema.cli.branches import run_branch

WHAT = {
    "train": "the training of recipes: seconds per iteration, waiting for data, memory, FLOP/s",
    "model": "forward passes and training steps of a model alone: latency, throughput, memory",
    "compare": "training steps of the benchmark's models, beside other toolboxes in the same run",
    "suite": "all rows of the training-speed benchmark, and the page docs/benchmark.md",
    "data": "the reading of training samples: samples/s of one core, beside the least that it could take",
    "log": "seconds per iteration out of training logs, of Kinema and of six other tools",
}
"""Each is a module of this package with a function `run(arguments) -> exit code`, imported when it is called."""


def run(arguments: Sequence[str]) -> int:
    """Measure what the first argument names."""
    return run_branch("benchmark", WHAT, arguments)
