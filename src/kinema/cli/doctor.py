"""`kinema doctor`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.console import print_json, printable


@dataclass(kw_only=True)
class Options:
    """Check this machine: Python, torch, processor, GPU, decoders, shared memory, disk, servers; says what to do.

    A line for each check: ok, warn (slower than it could be, or likely to fail) or fail (does not work). The exit code
    is 1 if a check failed, otherwise 0.
    """

    folder: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path()
    """Folder whose disk is measured, by a temporary file of at most 128 MiB: that of the videos or of the runs."""
    memcached: Annotated[tuple[str, ...], tyro.conf.arg(metavar="HOST:PORT")] = ()
    """Memcached servers that must answer, as of --data.storage.memcached."""
    ray: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")] = ""
    """Ray cluster that must answer; default: RAY_ADDRESS, if it is set."""
    json: bool = False
    """Print JSON: [{"check", "state", "found", "advice"}]."""


def run(arguments: Sequence[str]) -> int:
    """Check and print."""
    options = parse(Options, arguments, command="doctor")
    from kinema.deploy.doctor.checks import Wanted, run_checks

    wanted = Wanted(folder=options.folder, memcached=options.memcached, ray=options.ray)
    results = []
    for result in run_checks(wanted):
        results.append(result)
        if not options.json:
            print(printable(f"{result.state:4}  {result.check:13}  {' '.join(result.found.split())}"), flush=True)
            if result.advice and result.state != "ok":
                print(printable(f"{'':21}→ {result.advice}"), flush=True)
    if options.json:
        print_json([asdict(result) for result in results], indent=2)
    return int(any(result.state == "fail" for result in results))
