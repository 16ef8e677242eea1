"""Steps in processes of their own, within a deadline, whose rows are saved as they come."""

import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.page import page

from kinema import strict_json
from kinema.storage import write_text

SHORTEST = 5.0
"""Seconds under which a step is not begun."""
SLOWER = 5
"""Factor on the budgets on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A part of the work: the function `run(context)` of the module `benchmarks.gpu.NAME`."""

    name: str
    budget: float
    """Seconds that it may take."""


STEPS = (
    Step(name="machine", budget=20),
    Step(name="correct", budget=60),
    Step(name="trainings", budget=80),
    Step(name="speed", budget=110),
    Step(name="traps", budget=40),
    Step(name="factors", budget=100),
    Step(name="profiles", budget=40),
    Step(name="peers", budget=50),
    Step(name="sample", budget=60),
    Step(name="data_path", budget=40),
)
"""The steps by value; the deadline cuts the last ones."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a step works with."""

    device: torch.device
    short: bool
    folder: Path
    """An empty folder for its files."""
    rows: Path
    """The file of its rows."""
    until: float
    """Time of `time.monotonic` at which it is ended."""

    @property
    def gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - time.monotonic()

    def emit(self, table: str, **values: Any) -> None:
        """Save a row. A value `ok` says whether a check succeeded; `left_out` says why there are no figures."""
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(strict_json.dumps({"table": table, **values}) + "\n")


@dataclass(kw_only=True)
class Report:
    """Outcome of the steps, as `gpu.json` holds it."""

    device: str
    short: bool
    deadline: float
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a check failed or a step broke."""
        return any(
            step["status"] in ("failed", "over budget") or any(row.get("ok") is False for row in step["rows"])
            for step in self.steps.values()
        )

    def save(self, folder: Path) -> None:
        """Write `gpu.json` and `gpu.md`."""
        values = {"device": self.device, "short": self.short, "deadline": self.deadline, "steps": self.steps}
        write_text(folder / "gpu.json", strict_json.dumps(values, indent=1))
        write_text(folder / "gpu.md", page(values))


def run_steps(steps: Sequence[Step], *, device: str, short: bool, folder: Path, deadline: float) -> Report:
    """Run the steps one after the other; save what is known after each row."""
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(device=device, short=short, deadline=deadline)
    usable = device == "cpu" or _has_gpu()
    end = time.monotonic() + deadline
    for step in steps:
        left = end - time.monotonic()
        entry: dict[str, Any] = {"status": "left out", "reason": "", "seconds": 0.0, "rows": []}
        report.steps[step.name] = entry
        if left < SHORTEST:
            entry["reason"] = f"only {max(0, left):.0f} s of {deadline:.0f} were left"
        elif not usable:
            entry["reason"] = "torch detects no GPU"
        else:
            budget = step.budget * (SLOWER if device == "cpu" else 1)
            _run(step, entry, report, device=device, short=short, folder=folder, seconds=min(budget, left))
        report.save(folder)
        failed = sum(row.get("ok") is False for row in entry["rows"])
        told = f"{step.name}: {entry['status']} {entry['reason']} {len(entry['rows'])} rows, {failed} failed checks"
        print(f"{told}, {entry['seconds']:.0f} s", flush=True)
    return report


def _run(
    step: Step, entry: dict[str, Any], report: Report, *, device: str, short: bool, folder: Path, seconds: float
) -> None:
    """Run a step in a process of its own, which is ended after so many seconds."""
    own = (folder / "files" / step.name).absolute()
    shutil.rmtree(own, ignore_errors=True)  # of an earlier call
    own.mkdir(parents=True)
    rows = own / "rows.jsonl"
    began = time.monotonic()
    where = torch.device("cuda", 0) if device == "cuda" else torch.device(device)
    context = Context(device=where, short=short, folder=own, rows=rows, until=began + seconds)
    # Forked, so that torch is imported once. This process uses no GPU, whose state cannot be forked.
    process = multiprocessing.get_context("fork").Process(target=_work, args=(step.name, context, folder / "log.txt"))
    entry["status"] = "running"
    process.start()
    while process.is_alive() and time.monotonic() < began + seconds:
        process.join(0.3)
        if len(now := _read(rows)) > len(entry["rows"]):
            entry["rows"], entry["seconds"] = now, time.monotonic() - began
            report.save(folder)
    over = process.is_alive()
    if process.pid:
        _kill_group(process.pid)
    process.join()
    entry["rows"], entry["seconds"] = _read(rows), time.monotonic() - began
    entry["status"] = "over budget" if over else "done" if process.exitcode == 0 else "failed"
    if over:
        entry["reason"] = f"ended after {seconds:.0f} s"
    elif process.exitcode:
        said = own / "error.txt"
        entry["reason"] = said.read_text() if said.exists() else f"exit code {process.exitcode}, see log.txt"


def _has_gpu() -> bool:
    """Ask a process of its own: one that has used CUDA, if only to count GPUs, cannot fork others that use it."""
    process = multiprocessing.get_context("fork").Process(target=_exit_without_gpu)
    process.start()
    process.join()
    return process.exitcode == 0


def _exit_without_gpu() -> None:
    os._exit(0 if torch.cuda.is_available() else 1)


def _kill_group(pid: int) -> None:
    """End what a step has started and left running, too."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _work(name: str, context: Context, log: Path) -> None:
    os.setsid()
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    print(f"\n== {name}", flush=True)
    try:
        if context.gpu:
            torch.cuda.init()
        importlib.import_module(f"benchmarks.gpu.{name}").run(context)
    except BaseException as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        (context.folder / "error.txt").write_text(text[:300])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _read(rows: Path) -> list[dict[str, Any]]:
    if not rows.exists():
        return []
    lines = rows.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]  # what follows the last line end is being written
