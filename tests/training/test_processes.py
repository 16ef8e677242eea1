"""Processes as torchrun and other launchers start them, and a test that they divide among themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import LaunchEnvironment, is_lost_connection, launch_environment, process_group
from tests.conftest import tiny_arguments
from tests.storage.servers import free_port
from tests.training.test_resume import ENVIRONMENT, RECIPE

ALL = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "0"},
        {"WORLD_SIZE": "1"},
        {"LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"MASTER_ADDR": "host"},
        MEETING,
        {"RANK": "0", **MEETING},
        {"RANK": ""},
    ],
)
def test_what_says_that_there_is_one_process(environment: dict[str, str]) -> None:
    assert launch_environment(environment) is None


def test_what_launchers_say() -> None:
    assert launch_environment(ALL | MEETING) == LaunchEnvironment(rank=1, world=4, local_rank=1, local_world=2)
    # A process a machine, as Kubernetes operators start them.
    alone_there = {"RANK": "3", "WORLD_SIZE": "4"} | MEETING
    assert launch_environment(alone_there) == LaunchEnvironment(rank=3, world=4, local_rank=0, local_world=1)
    assert launch_environment({"RANK": "0", "WORLD_SIZE": "1"} | MEETING) == LaunchEnvironment(
        rank=0, world=1, local_rank=0, local_world=1
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK=1 in the environment, but no WORLD_SIZE, MASTER_ADDR, MASTER_PORT: start with `torchrun"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 in the environment, but no RANK"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1 in the environment, but no RANK"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "but no MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}, "but no MASTER_PORT"),
        ({"RANK": "one"}, "RANK=one in the environment is not an integer"),
        ({"RANK": "-1"}, "not an integer"),
        ({"RANK": "2", "WORLD_SIZE": "2", **MEETING}, "contradict"),
        (ALL | MEETING | {"LOCAL_RANK": "2"}, "contradict"),
        (ALL | MEETING | {"LOCAL_WORLD_SIZE": "8"}, "contradict"),
    ],
)
def test_what_no_launcher_says(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        launch_environment(environment)


def test_a_rank_without_a_launcher_is_one_message(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["train", RECIPE, "--work-dir", str(tmp_path / "run"), *tiny_arguments(sample)]) == 2
    assert "start with `torchrun" in capsys.readouterr().err


def torchrun(arguments: list[str], processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    done = subprocess.run([*launcher, "-m", "kinema", *arguments], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_processes_divide_a_test(sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    options = ["test", str(tiny_run), "--json", "--data.workers", "0", "--data.val-batch-size", "3"]
    for name in ("alone", "both"):
        (tmp_path / name).mkdir()
    own = ["--work-dir", str(tmp_path / "alone"), "--dump", str(tmp_path / "alone" / "dump.npz")]
    assert main([*options, *own]) == 0
    own = ["--work-dir", str(tmp_path / "both"), "--dump", str(tmp_path / "both" / "dump.npz")]
    done = torchrun([*options, *own])
    found = json.loads(done.stdout)  # by one of the two
    assert found == pytest.approx(json.loads((tmp_path / "alone" / "metrics.json").read_text()))
    assert "Warning" not in done.stderr
    alone, both = (np.load(tmp_path / name / "dump.npz") for name in ("alone", "both"))
    assert list(both["paths"]) == list(alone["paths"])
    assert np.array_equal(both["labels"], alone["labels"])
    assert np.allclose(both["scores"], alone["scores"], atol=1e-6)
    names = [sorted(file.name for file in (tmp_path / name).iterdir()) for name in ("alone", "both")]
    assert names[0] == names[1]


@pytest.mark.slow
def test_no_process_warns_of_anything(sample: Path, tmp_path: Path) -> None:
    options = tiny_arguments(sample, data__batch_size="2", schedule__epochs="1")
    done = torchrun(["train", RECIPE, "--work-dir", str(tmp_path / "run"), *options])
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 3000ms for recv operation to complete"
        ),
        torch.distributed.DistBackendError("NCCL communicator was aborted on rank 0."),
        torch.distributed.DistNetworkError("The client socket has timed out after 60000ms"),
    ],
)
def test_a_process_that_loses_the_others_says_so(error: RuntimeError) -> None:
    assert is_lost_connection(error)
    assert not is_lost_connection(RuntimeError("shapes cannot be multiplied"))


def lose(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    try:
        with process_group(RuntimeOptions(device="cpu")):
            torch.distributed.barrier()
            if rank == 1:
                os._exit(0)
            torch.distributed.barrier()
    except UserError as error:
        (folder / "said").write_text(str(error))


def test_a_process_that_ends_is_reported_by_the_others(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(lose, args=(free_port(), tmp_path), nprocs=2)
    said = (tmp_path / "said").read_text()
    assert said.startswith("process 0 of 2 lost the others")
    assert "--resume" in said
