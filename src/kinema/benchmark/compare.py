"""Kinema and other toolboxes timed in turn, each in a process of its own, on the same models and batches."""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import annotated_types as at
import torch

from kinema import strict_json
from kinema.benchmark import peers
from kinema.benchmark.environments import python_of
from kinema.benchmark.hardware import busy_cores, machine
from kinema.benchmark.rows import PEERS, Row
from kinema.console import progress
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions, pick_device

log = logging.getLogger(__name__)

OWN = "Kinema"
BEST = "Kinema, best precision"


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


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a contender did; times in seconds, memory in GiB. All but `fault` is empty when it does not run."""

    fault: str = ""
    """Why it does not run."""
    train: list[list[float]] = field(default_factory=list)
    """Each iteration of each round."""
    infer: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)
    """What all threads worked in each training iteration, which other programs on the machine hardly change."""
    memory_gib: float = 0.0
    parameters: int = 0
    notes: list[str] = field(default_factory=list)
    """What had to be worked around."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def s_per_iter(self) -> float:
        """Median of the training iterations."""
        return median(each for turn in self.train for each in turn)

    @property
    def infer_s(self) -> float:
        """Median of the forward passes."""
        return median(each for turn in self.infer for each in turn)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row's contenders, measured in turn."""

    row: str
    title: str
    recipe: str
    batch_size: int
    machine: str
    results: dict[str, Result]
    load: float = 0.0
    """Cores that other programs kept busy for two seconds before anything was started."""

    @property
    def disturbed(self) -> bool:
        """Whether others worked on the machine: times then say little, CPU times more."""
        return self.load > 0.25

    def cpu_ratio(self, contender: str) -> float | None:
        """The same of CPU times."""
        own, other = self.results[OWN], self.results[contender]
        if not own.cpu or not other.cpu:
            return None
        return median(median(them) / median(us) for them, us in zip(other.cpu, own.cpu, strict=True))

    def ratio(self, contender: str) -> float | None:
        """How many times as long as Kinema in fp32 the contender takes: median over the rounds, each with its own."""
        own, other = self.results[OWN], self.results[contender]
        if own.fault or other.fault:
            return None
        return median(median(them) / median(us) for them, us in zip(other.train, own.train, strict=True))

    def as_json(self) -> dict[str, Any]:
        """With the medians and ratios."""
        found = asdict(self)
        for name, result in self.results.items():
            if not result.fault:
                found["results"][name] |= {
                    "s_per_iter": result.s_per_iter,
                    "infer_s": result.infer_s,
                    "ratio": self.ratio(name),
                    "cpu_ratio": self.cpu_ratio(name),
                }
        return found


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
        running: dict[str, _Process] = {}
        with progress(f"{name}: starting", len(commands)) as meter:
            started = {contender: processes.enter_context(_started(command)) for contender, command in commands.items()}
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
            "kinema.benchmark.contender",
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


class _Process:
    """A contender's process, which waits for orders."""

    def __init__(self, command: Sequence[str]) -> None:
        self.fault, self._name = "", " ".join(command[:3])
        self._train, self._infer, self._cpu = list[list[float]](), list[list[float]](), list[list[float]]()
        self._memory = 0.0
        if not Path(command[0]).exists():
            self.fault = f"there is no {command[0]}: `kinema benchmark compare --set-up` makes the environment"
            return
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, env=environment
        )

    def await_introduction(self) -> None:
        """Until it has taken its first step, or has said why it cannot."""
        if not self.fault:
            self._about = self._read()
            self.fault = re.sub(r" \(/[^)]*\)", "", self._about.get("fault", ""))  # where a module lies on this machine

    def take_turn(self, count: int) -> None:
        """Training iterations, then a forward pass; one more of each goes before, which warms up the caches again."""
        trained, passed = self._ordered("train", count + 1), self._ordered("infer", 2)
        self._train.append(trained["seconds"][1:])
        self._cpu.append(trained["cpu_seconds"][1:])
        self._infer.append(passed["seconds"][1:])
        self._memory = trained["memory_gib"]

    def result(self) -> Result:
        """Of all turns."""
        return Result(
            train=self._train,
            infer=self._infer,
            cpu=self._cpu,
            memory_gib=self._memory,
            parameters=self._about["parameters"],
            notes=self._about["notes"],
            versions=self._about["versions"],
        )

    def close(self) -> None:
        """End the process."""
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.communicate()
            self._said.close()

    def _ordered(self, what: str, count: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        answer = self._read()
        if "seconds" not in answer:
            raise UserError(f"{self._name} ended while it was measured: {answer.get('fault')}")
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self._said.seek(0)
        return {"fault": (self._said.read().strip().splitlines() or ["it ended without a word"])[-1]}


@contextmanager
def _started(command: Sequence[str]) -> Iterator[_Process]:
    process = _Process(command)
    try:
        yield process
    finally:
        process.close()
