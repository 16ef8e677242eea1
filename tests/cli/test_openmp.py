"""How OpenMP's threads wait in commands, in what they start, and in programs of other toolboxes."""

import os
import subprocess
import sys

import pytest

from kinema.runtime.openmp import WAITING, environment_of_others, waiting_briefly_in_shell

OWN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}


def as_libgomp_reads_it(command: list[str], **variables: str) -> dict[str, str]:
    """Return what torch's OpenMP says of its settings at the start of a command."""
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    lines = [line.strip().removeprefix("[host] ").partition(" = ") for line in said.splitlines()]
    return {name: value.strip("'") for name, _, value in lines if name in WAITING}


COMMAND = [sys.executable, "-c", "from kinema.cli import main; main(['--version']); import torch; torch.ones(2).sum()"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch's OpenMP is libgomp on Linux")
def test_commands_spin_briefly_unless_the_user_chose() -> None:
    assert as_libgomp_reads_it(COMMAND) == OWN
    assert as_libgomp_reads_it(COMMAND, OMP_WAIT_POLICY="active") == {
        "OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "30000000000"
    }  # fmt: skip
    assert as_libgomp_reads_it(COMMAND, GOMP_SPINCOUNT="7")["GOMP_SPINCOUNT"] == "7"


def test_a_job_waits_likewise_unless_the_user_chose() -> None:
    script = f"{waiting_briefly_in_shell()}\necho $OMP_WAIT_POLICY,$GOMP_SPINCOUNT"
    for chosen, expected in (({}, "passive,3000"), ({"OMP_WAIT_POLICY": "active"}, "active,")):
        environment = {"PATH": os.environ["PATH"], **chosen}
        done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_programs_of_others_get_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    for name, value in WAITING.items():
        monkeypatch.setenv(name, value)
    assert environment_of_others() == before
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert environment_of_others() == dict(os.environ)
