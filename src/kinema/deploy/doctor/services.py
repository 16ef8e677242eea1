"""Checks of Memcached servers, a Ray cluster and Slurm."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec

from kinema.deploy.doctor.result import Result

_PATIENCE = 5.0
"""Seconds that a server may take to answer."""


def check_memcached(servers: tuple[str, ...]) -> Iterator[Result]:
    """Yield whether each server answers; without servers, whether a program of it is installed."""
    from pymemcache.client.base import Client
    from pymemcache.exceptions import MemcacheError

    if not servers:
        installed = shutil.which("memcached")
        found = f"{installed or 'not installed'}; --memcached HOST:PORT asks a server"
        yield Result(check="Memcached", state="ok", found=found)
    for server in servers:
        try:
            client = Client(server, connect_timeout=_PATIENCE, timeout=_PATIENCE)
            version = client.version().decode(errors="replace")
            client.close()
        except (OSError, MemcacheError, ValueError) as error:
            advice = "start it (memcached -m 1024 -l HOST), or open its port in the firewall"
            yield Result(check="Memcached", state="fail", found=f"{server}: {error}", advice=advice)
        else:
            yield Result(check="Memcached", state="ok", found=f"{server} answers, version {version}")


def check_ray(address: str) -> Iterator[Result]:
    """Yield whether the Ray cluster at `address`, or at RAY_ADDRESS, can be reached."""
    address = address or os.environ.get("RAY_ADDRESS", "")
    installed = find_spec("ray") is not None
    if not address or address in ("auto", "local"):
        found = "installed; --ray HOST:PORT asks a cluster" if installed else "not installed (extra `ray`)"
        yield Result(check="Ray", state="ok", found=found)
        return
    if not installed:
        yield Result(check="Ray", state="fail", found="not installed", advice="pip install 'kinema[ray]'")
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        advice = "start it (ray start --head), and pass HOST:PORT as `ray status` shows it"
        yield Result(check="Ray", state="fail", found=f"{address}: {error}", advice=advice)
    else:
        yield Result(check="Ray", state="ok", found=f"{address} answers")


def check_slurm() -> Iterator[Result]:
    """Yield whether Slurm is installed and its controller answers."""
    if not shutil.which("sbatch"):
        yield Result(check="Slurm", state="ok", found="not installed; `kinema submit` needs it")
        return
    try:
        command = ["sinfo", "--noheader", "--format=%P %D %t"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=4 * _PATIENCE, check=False)
        fault = asked.stderr.strip() if asked.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    if fault:
        yield Result(
            check="Slurm", state="warn", found=fault, advice="start slurmctld, or ask the cluster's administrators"
        )
    elif find_spec("submitit") is None:
        yield Result(check="Slurm", state="warn", found="submitit is missing", advice="pip install 'kinema[slurm]'")
    else:
        partitions = "; ".join(asked.stdout.split("\n")[:4]).strip("; ")
        yield Result(check="Slurm", state="ok", found=f"partitions: {partitions or 'none'}")
