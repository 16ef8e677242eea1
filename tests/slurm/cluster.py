"""A Slurm cluster of one machine, this one, in a folder of its own: it touches nothing of the system's."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.storage.servers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")


class Cluster:
    """The daemons of a one-node cluster, with two cores whatever the machine has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Bring the daemons up and wait until the node takes jobs."""
        key, munge = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        self._run("munged", "--foreground", "--force", f"--socket={munge}", *files)
        self._wait_for(munge.exists)
        (self.folder / "slurm.conf").write_text(self._slurm_conf(munge))
        (self.folder / "cgroup.conf").write_text(cgroup_conf())
        self._run("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._run("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait_for(lambda: self.call("sinfo", "--noheader", "--format=%T", check=False).strip() == "idle")

    def call(self, *command: str, check: bool = True) -> str:
        """What a command prints that finds this cluster."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def state(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        fields = self.call("scontrol", "show", "job", job, "--oneliner").split()
        return dict(field.partition("=")[::2] for field in fields)

    def end_of(self, job: str, seconds: float = 240) -> dict[str, str]:
        """Wait until a job is over; what Slurm then knows of it."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        self._wait_for(lambda: self.state(job)["JobState"] in over, seconds)
        return self.state(job)

    def stop(self) -> None:
        """End the jobs and the daemons, the last one first."""
        if self._daemons:
            self.call("scancel", "--me", "--signal=KILL", "--full", check=False)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def logs(self) -> str:
        """The ends of the daemons' logs, for a failing test."""
        texts = [f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(self.folder.glob("*.log"))]
        return "\n".join(texts)

    def _run(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.out").open("wb") as out:
            daemon = subprocess.Popen([str(find(program)), *arguments], stdout=out, stderr=out, env=self.environment)
        self._daemons.append(daemon)

    def _wait_for(self, ready: Callable[[], bool], seconds: float = 30) -> None:
        last = time.monotonic() + seconds
        while not ready():
            for daemon in self._daemons:
                assert daemon.poll() is None, f"{daemon.args} ended\n{self.logs()}"
            assert time.monotonic() < last, self.logs()
            time.sleep(0.2)

    def _slurm_conf(self, munge: Path) -> str:
        host, folder = socket.gethostname().partition(".")[0], self.folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        return f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
AuthType=auth/munge
# A requeued job waits as long as its old credentials live.
AuthInfo=socket={munge},cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=20
SchedulerParameters=sched_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def cgroup_conf() -> str:
    """slurmd does not start without a working cgroup plugin, also where none is used."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n"
    return "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"


def find(program: str) -> str | None:
    """A program of Slurm's or munge's; daemons are not on everybody's path."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Cluster]:
    """A running cluster; skips the test where there is no Slurm, or no right to run one."""
    missing = [program for program in PROGRAMS if find(program) is None]
    if missing:
        pytest.skip(f"no Slurm here ({', '.join(missing)} not found): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons run as root")
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
