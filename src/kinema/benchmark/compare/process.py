"""A contender's process, which is told what to time."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinema.benchmark.compare.results import Result
from kinema.errors import UserError


class ContenderProcess:
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
