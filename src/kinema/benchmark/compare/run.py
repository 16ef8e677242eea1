"""Kinema and other toolboxes timed in turn, each in a process of its own, on the same models and batches."""

import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import torch

from kinema import strict_json
from kinema.benchmark import peers
from kinema.benchmark.compare.environments import python_of
from kinema.benchmark.compare.process import ContenderProcess
from kinema.benchmark.compare.results import BEST, OWN, Comparison, Result
from kinema.benchmark.compare.rows import PEERS, Row
from kinema.benchmark.measure.hardware import busy_cores, machine
from kinema.console import progress
from kinema.runtime.device import RuntimeOptions, pick_device

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class CompareOptions:
    """How contenders are measured."""

    environments: Path = Path.home() / ".cache/kinema/peers"
    """Folder of the peers' virtual environments; --set-up makes them."""
    checkouts: Path = Path("checkouts")
    """Folder of the repositories of peers that are no packages, cloned under their own names: SlowFast,
    temporal-shift-module, mmaction, BMN-Boundary-Matching-Network, BSN-boundary-sensitive-network."""
    rounds: Annotated[int, at.Ge(1)] = 3
    """Times that all contenders take their turn."""
    block: Annotated[int, at.Ge(1)] = 3
    """Iterations of a turn that count; one before them does not."""
    batch_size: Annotated[int, at.Ge(0)] = 0
    """Samples of a batch; 0: the benchmark's own on a GPU, 2 or 16 on a CPU."""
    best: Literal["bf16", "fp16", "none"] = "bf16"
    """Precision of a second Kinema that is measured beside the fp32 one, which all peers run in."""


def compare(name: str, row: Row, options: CompareOptions, keys: Mapping[str, object]) -> Comparison:
    """Measure Kinema and the peers that have the row's model.

    Args:
        name: the row's.
        row: what is measured.
        options: how.
        keys: options of Kinema's recipe to change.
    """
    on_gpu = torch.cuda.is_available()
    batch = options.batch_size or (int(row.spec_batch.partition("x")[0]) if on_gpu else row.batch_size)
    commands, load = _commands(name, row, options, keys, batch), busy_cores()
    found: dict[str, Result] = {}
    with ExitStack() as processes:
        running: dict[str, ContenderProcess] = {}
        with progress(f"{name}: starting", len(commands)) as meter:
            started = {
                contender: processes.enter_context(closing(ContenderProcess(command)))
                for contender, command in commands.items()
            }
            for contender, process in started.items():
                process.await_introduction()
                if process.fault:
                    found[contender] = Result(fault=process.fault)
                    log.warning("%s: %s does not run: %s", name, contender, process.fault)
                else:
                    running[contender] = process
                meter.advance()
        with progress(f"{name}: measuring", options.rounds * len(running)) as meter:
            for _ in range(options.rounds):
                for process in running.values():
                    process.take_turn(options.block)
                    meter.advance()
        found |= {contender: process.result() for contender, process in running.items()}
    return Comparison(
        row=name,
        title=row.title,
        recipe=row.recipe,
        batch_size=batch,
        machine=machine(pick_device(RuntimeOptions())),
        results={contender: found[contender] for contender in commands},
        load=load,
    )


def _commands(
    name: str, row: Row, options: CompareOptions, keys: Mapping[str, object], batch: int
) -> dict[str, list[str]]:
    """What starts each contender."""
    threads = torch.get_num_threads()
    request: dict[str, object] = {"model": name, "shape": [batch, *row.shape], "threads": threads}
    own_keys = {**row.keys, "data.batch_size": str(batch), "data.workers": "0", **keys}
    precisions = {OWN: "fp32"} | ({} if options.best == "none" else {BEST: options.best})
    commands = {
        contender: [
            sys.executable,
            "-m",
            "kinema.benchmark.compare.contender",
            strict_json.dumps(
                {"recipe": row.recipe, "keys": {"runtime.precision": precision, **own_keys}, "request": request}
            ),
        ]
        for contender, precision in precisions.items()
    }
    for peer in row.peers:
        about = PEERS[peer]
        program = Path(peers.__file__).parent / f"{about.program}.py"
        checkout = str(options.checkouts / about.checkout) if about.checkout else ""
        python = python_of(options.environments, about.environment)
        commands[peer] = [str(python), str(program), strict_json.dumps({**request, "checkout": checkout})]
    return commands
