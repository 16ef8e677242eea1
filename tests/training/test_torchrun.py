"""One training over several machines, and one that loses a process: the same bits as on one machine, undisturbed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import tiny_arguments
from tests.storage.servers import free_port
from tests.training.test_resume import ENVIRONMENT, RECIPE, rows, start, wait_for_step

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def train(sample: Path, work_dir: Path) -> list[str]:
    # 32 training videos in steps of 2 x 2: 16 steps, with checkpoints after 3, 6, 8 (an epoch), 9, 12, 15, 16.
    options = tiny_arguments(
        sample, data__workers="1", data__batch_size="2", data__reader="pyav", training__checkpoint_every="3"
    )
    return ["-m", "kinema", "train", RECIPE, "--work-dir", str(work_dir), "--resume", *options]


@pytest.fixture(scope="module")
def undisturbed(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("undisturbed")
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", *train(sample, work_dir)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return work_dir


def assert_same(work_dir: Path, reference: Path) -> None:
    for checkpoint in ("last", "best"):
        for file in (reference / "checkpoints" / checkpoint).glob("*.safetensors"):
            assert (work_dir / "checkpoints" / checkpoint / file.name).read_bytes() == file.read_bytes(), file
    assert rows(work_dir) == rows(reference)


def run_together(commands: list[list[str]], environment: dict[str, str]) -> None:
    processes = [
        subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True)
        for command in commands
    ]
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)


def agent(sample: Path, work_dir: Path, endpoint: str, address: str, *more: str) -> list[str]:
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=test", f"--local-addr={address}", *more]
    return [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *meeting, *train(sample, work_dir)]


def test_two_agents_on_one_machine(undisturbed: Path, sample: Path, tmp_path: Path) -> None:
    command = agent(sample, tmp_path, f"127.0.0.1:{free_port()}", "127.0.0.1")
    run_together([command, command], ENVIRONMENT)
    assert_same(tmp_path, undisturbed)


@contextmanager
def two_machines() -> Iterator[dict[str, list[str]]]:
    """Two network namespaces with a cable between them: address → how to start a program there."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    name = f"kinema{os.getpid()}"
    places = {f"10.213.77.{number}": f"{name}{number}" for number in (1, 2)}
    made: list[str] = []
    try:
        for space in places.values():
            done = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
            made.append(space)
        one, two = places.values()
        ip = ["ip", "-netns", one, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", two]
        subprocess.run(ip, check=True)
        for address, space in places.items():
            for change in (["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", "cable"]):
                subprocess.run(["ip", "-netns", space, *change], check=True)
            subprocess.run(["ip", "-netns", space, "link", "set", "cable", "up"], check=True)
        yield {address: ["ip", "netns", "exec", space] for address, space in places.items()}
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "delete", space], check=True)


def test_two_machines_with_networks_of_their_own(undisturbed: Path, sample: Path, tmp_path: Path) -> None:
    with two_machines() as machines:
        # Both have this machine's name, which leads nowhere: they are told who meets whom, over which network.
        host = next(iter(machines))
        commands = [
            [*there, *agent(sample, tmp_path, f"{host}:29400", address, f"--rdzv-conf=is_host={address == host}")]
            for address, there in machines.items()
        ]
        run_together(commands, ENVIRONMENT | {"GLOO_SOCKET_IFNAME": "cable"})
    assert_same(tmp_path, undisturbed)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_group_goes_on_from_its_checkpoint_when_a_process_is_killed(
    rank: str, undisturbed: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torchrun keeps one store over restarts otherwise, and a new process may find the address of the killed one in it.
    monkeypatch.setitem(ENVIRONMENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    process = start([*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1", *train(sample, tmp_path)])
    wait_for_step(process, tmp_path, 7)
    victims = [child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == rank]
    assert len(victims) == 1
    victims[0].kill()
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert "resuming" in said
    assert_same(tmp_path, undisturbed)
