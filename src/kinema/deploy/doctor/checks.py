"""All checks of this machine, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kinema.deploy.doctor.result import Result


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is checked beside the machine itself."""

    folder: Path = Path()
    """Folder whose disk is measured."""
    memcached: tuple[str, ...] = ()
    """Servers that must answer, `host:port`."""
    ray: str = ""
    """Address of a Ray cluster that must answer, `host:port` or `ray://host:port`."""


CHECKS = {
    "Python": "machine:check_python",
    "torch": "machine:check_torch",
    "CPU": "machine:check_cpu",
    "GPU": "machine:check_gpu",
    "FFmpeg": "media:check_ffmpeg",
    "decoders": "media:check_decoders",
    "shared memory": "machine:check_shared_memory",
    "open files": "machine:check_open_files",
    "disk": "machine:check_disk",
    "cache": "machine:check_cache",
    "Memcached": "services:check_memcached",
    "Ray": "services:check_ray",
    "Slurm": "services:check_slurm",
}
"""Name of each check → its function in a module of this folder, imported when it is called."""


def run_checks(wanted: Wanted) -> Iterator[Result]:
    """Yield the results of all checks; an error in one, as of a package that does not load, is its result."""
    arguments: dict[str, list[Any]] = {"disk": [wanted.folder], "Memcached": [wanted.memcached], "Ray": [wanted.ray]}
    for name, address in CHECKS.items():
        module, _, function = address.partition(":")
        try:
            check = getattr(import_module(f"kinema.deploy.doctor.{module}"), function)
            yield from check(*arguments.get(name, []))
        except Exception as error:  # what is broken must not hide the results of the others
            advice = "reinstall the package that the error is of; if that does not help, report it"
            yield Result(check=name, state="fail", found=f"{type(error).__name__}: {error}", advice=advice)
