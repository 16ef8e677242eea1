"""Comparison with other toolboxes: each in its own process, timed in turn on the same models and batches."""

import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from kinema import strict_json
from kinema.benchmark import peers
from kinema.benchmark.compare.environments import python_of
from kinema.benchmark.compare.process import ContenderProcess
from kinema.benchmark.compare.results import BEST, OWN, Comparison, Result
from kinema.benchmark.compare.rows import PEERS, Row
from kinema.benchmark.measure.hardware import busy_cores
from kinema.benchmark.options import CompareOptions
from kinema.console import progress
from kinema.runtime.device import RuntimeOptions, pick_device
from kinema.runtime.hardware import machine

log = logging.getLogger(__name__)


def compare(name: str, row: Row, options: CompareOptions, keys: Mapping[str, object]) -> Comparison:
    """Time Kinema, with options `keys` of its recipe changed, and the peers that have the model of the row `name`."""
    batch = batch_size(row, options)
    commands, load = _commands(name, row, options, keys, batch), busy_cores()
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        running: dict[str, ContenderProcess] = {}
        with progress(f"{name}: starting", len(commands)) as meter:
            processes = {
                contender: stack.enter_context(closing(ContenderProcess(command, own=contender in (OWN, BEST))))
                for contender, command in commands.items()
            }
            for contender, process in processes.items():
                process.wait_until_ready()
                if process.fault:
                    results[contender] = Result(fault=process.fault)
                    log.warning("%s: %s does not run: %s", name, contender, process.fault)
                else:
                    running[contender] = process
                meter.advance()
        with progress(f"{name}: measuring", options.rounds * len(running)) as meter:
            for _ in range(options.rounds):
                for process in running.values():
                    process.run_round(options.block, options.block_seconds)
                    meter.advance()
        results |= {contender: process.result() for contender, process in running.items()}
    return Comparison(
        row=name,
        title=row.title,
        recipe=row.recipe,
        batch_size=batch,
        machine=machine(pick_device(RuntimeOptions())),
        results={contender: results[contender] for contender in commands},
        load=load,
    )


def batch_size(row: Row, options: CompareOptions) -> int:
    """Samples per batch of one process: the benchmark's batch size on a GPU, fewer on a CPU."""
    own = int(row.spec_batch.partition("x")[0]) if torch.cuda.is_available() else row.batch_size
    return options.batch_size or own


def _commands(
    name: str, row: Row, options: CompareOptions, keys: Mapping[str, object], batch: int
) -> dict[str, list[str]]:
    """Command line of each contender."""
    threads = torch.get_num_threads()
    request: dict[str, object] = {"model": name, "shape": [batch, *row.shape], "threads": threads}
    own_keys = {**row.keys, "data.batch_size": str(batch), "data.workers": "0", **keys}
    commands = {}
    for contender, precision in ((OWN, "fp32"), (BEST, options.best)):
        if precision != "none":
            own = {"recipe": row.recipe, "keys": {"runtime.precision": precision, **own_keys}, "request": request}
            module = "kinema.benchmark.compare.contender"
            commands[contender] = [sys.executable, "-m", module, strict_json.dumps(own)]
    for name_of_peer in row.peers:
        peer = PEERS[name_of_peer]
        python, program = python_of(options.environments, peer.environment), Path(peers.__file__).parent / peer.program
        checkout = str(options.checkouts / peer.checkout) if peer.checkout else ""
        asked = strict_json.dumps({**request, "checkout": checkout})
        commands[name_of_peer] = [str(python), f"{program}.py", asked]
    return commands
