"""Process of a contender, timed on request over its standard input and output."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from kinema.benchmark.compare.results import Result
from kinema.errors import UserError
from kinema.runtime.environment import environment_of_others


class ContenderProcess:
    """A started contender, Kinema (`own`) or a peer; `fault` says why it could not be started, or is empty."""

    def __init__(self, command: Sequence[str], *, own: bool) -> None:
        self.fault, self._name = "", " ".join(command[:3])
        self._train, self._infer, self._cpu = list[list[float]](), list[list[float]](), list[list[float]]()
        self._memory = 0.0
        self._process: subprocess.Popen[str] | None = None
        if not Path(command[0]).exists():
            self.fault = f"there is no {command[0]}: `kinema benchmark compare --set-up` creates the environment"
            return
        environment = {**(os.environ if own else environment_of_others()), "PYTHONDONTWRITEBYTECODE": "1"}
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True, env=environment
        )

    def wait_until_ready(self) -> None:
        """Wait for the first training step, or set `fault` if it fails."""
        if not self.fault:
            self._about = self._read()
            # Without the path of a module on this machine.
            self.fault = re.sub(r" \(/[^)]*\)", "", self._about.get("fault", ""))

    def run_round(self, count: int, seconds: float) -> None:
        """Time a block of training iterations and one of forward passes.

        A block has at least `count` iterations, forward passes at least one, and takes about `seconds` at least: steps
        of milliseconds are slower until the caches and the heap are theirs again.
        """
        train, infer = self._block("train", count, seconds), self._block("infer", 1, seconds / 4)
        self._train.append(train["seconds"])
        self._cpu.append(train["cpu_seconds"])
        self._infer.append(infer["seconds"])
        self._memory = train["memory_gib"]

    def _block(self, step: str, count: int, seconds: float) -> dict[str, Any]:
        """Time a block after some iterations that warm up: one, or as many as fit into a quarter of the block."""
        first = self._request(step, 1)["seconds"][0]
        warm = self._request(step, ceil(seconds / 4 / first))["seconds"] if first < seconds / 4 else [first]
        return self._request(step, max(count, ceil(seconds / median(warm))))

    def result(self) -> Result:
        """Timings of all rounds."""
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
        """Kill the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._stderr.close()

    def _request(self, step: str, count: int) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{step} {count}\n")
        self._process.stdin.flush()
        answer = self._read()
        if "seconds" not in answer:
            raise UserError(f"{self._name} ended during the measurement: {answer.get('fault')}")
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._stderr.seek(0)
        return {"fault": (self._stderr.read().strip().splitlines() or ["it ended without a message"])[-1]}
