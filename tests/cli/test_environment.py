"""What is set before torch or a program starts: how OpenMP's threads wait, and how glibc allocates."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.runtime.environment import HEAP, WAITING, environment_of_others, set_up_in_shell

OWN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}
NAMES = {*WAITING, *HEAP}
WITHOUT = {name: value for name, value in os.environ.items() if name not in NAMES}


def as_libgomp_reads_it(command: list[str], **variables: str) -> dict[str, str]:
    """Return what torch's OpenMP says of its settings at the start of a command."""
    environment = {**WITHOUT, "OMP_DISPLAY_ENV": "verbose", **variables}
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such variable")
@pytest.mark.parametrize(
    ("command", "chosen", "expected"),
    [
        ("train", {}, HEAP["GLIBC_TUNABLES"]),
        ("train", {"GLIBC_TUNABLES": "glibc.malloc.mxfast=0"}, "glibc.malloc.mxfast=0"),
        ("submit", {}, "none"),
    ],
)
def test_a_training_has_no_tcache_unless_the_user_chose(
    command: str, chosen: dict[str, str], expected: str, tmp_path: Path
) -> None:
    """A recipe of the user's is a program that sees its process; an argument with a space arrives as it was."""
    recipe = tmp_path / "my recipe.py"
    recipe.write_text("import os, sys\nprint(os.environ.get('GLIBC_TUNABLES', 'none'), *sys.argv[1:], sep='|')\n")
    done = subprocess.run(
        [sys.executable, "-m", "kinema", command, f"{recipe}:recipe"],
        env={**WITHOUT, **chosen}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines()[0] == f"{expected}|{command}|{recipe}:recipe"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "passive,3000,glibc.malloc.tcache_count=0"),
        ({"OMP_WAIT_POLICY": "active"}, "active,,glibc.malloc.tcache_count=0"),
        ({"GLIBC_TUNABLES": "glibc.malloc.mxfast=0"}, "passive,3000,glibc.malloc.mxfast=0"),
    ],
)
def test_a_job_does_likewise_unless_the_user_chose(chosen: dict[str, str], expected: str) -> None:
    script = "\n".join([*set_up_in_shell(), "echo $OMP_WAIT_POLICY,$GOMP_SPINCOUNT,$GLIBC_TUNABLES"])
    environment = {"PATH": os.environ["PATH"], **chosen}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_programs_of_others_get_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    for name, value in (WAITING | HEAP).items():
        monkeypatch.setenv(name, value)
    assert environment_of_others() == before
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert environment_of_others() == before | WAITING | {"GOMP_SPINCOUNT": "7"}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mxfast=0")
    assert environment_of_others() == dict(os.environ)
