"""`kinema benchmark`: a module for each subcommand."""

from functools import partial

from kinema.cli.subcommands import run_command

SUBCOMMANDS = {
    "train": "measure the training of recipes: seconds per iteration, wait for data, memory, FLOP/s",
    "model": "measure a model without data loading: latency, throughput, memory",
    "compare": "compare training steps with other toolboxes, on the same models and batches",
    "suite": "measure all rows of the training-speed benchmark and write docs/benchmark.md",
    "data": "measure the reading of training samples: samples/s of one core, and their limit",
    "log": "read seconds per iteration from training logs of Kinema and six other tools",
}
"""Description of each subcommand, a module of this package with a function `run(arguments) -> exit code`."""

run = partial(run_command, "benchmark", SUBCOMMANDS)
