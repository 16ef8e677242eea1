"""Files made out of files: only what is missing, in parallel, with a report of what could not be made."""

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kinema import strict_json
from kinema.console import progress
from kinema.errors import MediaError, UserError
from kinema.prepare.work.interrupts import soon_interrupted
from kinema.prepare.work.parallel import in_parallel
from kinema.storage import check_no_pipe, remove_leftovers, replacing, settled, write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One output and what it is made of; both paths absolute, as other machines may do the work."""

    source: str
    output: Path


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `run_jobs` did."""

    done: int
    """Outputs made now."""
    kept: int
    """Outputs that an earlier call had made."""
    failures: Mapping[str, str]
    """Why nothing could be made of a source: source → reason."""

    @property
    def exit_code(self) -> int:
        """What the command ends with: 0 if there is an output for every source, otherwise 1."""
        return 1 if self.failures else 0


def run_jobs(
    work: Callable[[Unit], None],
    units: Sequence[Unit],
    *,
    title: str,
    report: Path,
    workers: int = 0,
    cluster: str = "",
) -> Summary:
    """Call `work(unit)` for every unit whose output is missing, and log what came of it.

    Killed or interrupted at any time, it leaves whole outputs only, and another call goes on where this one was. It
    tries again what failed. An interrupt ends it within two seconds; so does SIGTERM, as a cluster sends before it
    takes a machine away.

    Args:
        work: Makes `unit.output`, a file or a folder, in one step (`replacing`, `replacing_folder`), or raises
            MediaError. A picklable function of a module, or a `functools.partial` of one.
        units: In any order. No other call may work on the same outputs at the same time.
        title: Stands at the progress bar.
        report: CSV file `path,reason` of the sources that failed, itself replaced in one step and removed when all
            went well. Lines about other sources than those of `units` stay.
        workers: Processes that work at the same time; 0: one a core, of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.

    Raises:
        UserError: two sources would have the same output, or there is no such cluster.
    """
    if workers < 0:
        raise UserError(f"--workers: found {workers}, must be at least 0 (one a core)")
    units = list(dict.fromkeys(units))
    check_outputs(units)
    missing = [unit for unit in units if not settled(unit.output).exists()]
    failures: dict[str, str] = {}
    clean_up = partial(remove_leftovers, [unit.output for unit in missing])
    clean_up()
    with soon_interrupted(clean_up):
        try:
            _run(work, missing, failures, title=title, kept=len(units) - len(missing), workers=workers, cluster=cluster)
        finally:
            clean_up()
            _write_report(report, failures, units)
    done = len(missing) - len(failures)
    log.info("%s: %d done, %d were there, %d failed", title, done, len(units) - len(missing), len(failures))
    if failures:
        log.error("%d of %d failed; %s says why", len(failures), len(units), report)
    return Summary(done=done, kept=len(units) - len(missing), failures=failures)


def claim_folder(folder: Path, record: str, settings: Mapping[str, Any]) -> None:
    """Leave `settings` in the file `record` (JSON) of an output folder, or find the same ones there.

    Outputs that an earlier call made are kept: those of other settings must not be taken for them.

    Raises:
        UserError: the folder's record names other settings, or it holds other files, hidden ones aside, and no record.
    """
    path = folder / record
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        names = [*settings, *(name for name in found if name not in settings)]
        differing = [
            f"{name} {found.get(name)} (now {settings.get(name)})"
            for name in names
            if found.get(name) != settings.get(name)
        ]
        if differing:
            raise UserError(
                f"{path}: what is in this folder was made with {', '.join(differing)}. "
                "Give the same options to complete it, another folder, or remove this one."
            )
    elif folder.exists() and not all(inside.name.startswith(".") for inside in folder.iterdir()):
        raise UserError(f"{folder}: the folder holds other files and no {record}. Give a new or an empty folder.")
    else:
        write_text(path, strict_json.dumps(settings, indent=2) + "\n")


def _run(
    work: Callable[[Unit], None],
    missing: Sequence[Unit],
    failures: dict[str, str],
    *,
    title: str,
    kept: int,
    workers: int,
    cluster: str,
) -> None:
    """Do the work, and put into `failures` what fails, as soon as it does."""
    results = in_parallel(partial(_attempt, work), missing, workers=workers, cluster=cluster, on_crash=_crashed)
    with progress(title, kept + len(missing), done=kept) as meter, closing(results):
        for source, reason in results:
            if reason:
                failures[source] = reason
                log.warning("%s: %s", source, reason)
            meter.advance(figures=f"{len(failures)} failed" if failures else "")


def _attempt(work: Callable[[Unit], None], unit: Unit) -> tuple[str, str]:
    """The unit's source, and why it failed; empty when it did not."""
    if unit.output.exists():  # made by a process that died before it could say so
        return unit.source, ""
    try:
        check_no_pipe(unit.source)
        work(unit)
    except MediaError as error:
        return unit.source, error.reason
    return unit.source, ""


def _crashed(unit: Unit) -> tuple[str, str]:
    return unit.source, "the process that worked on it died each time: the file crashes it, or memory ran out"


def check_outputs(units: Sequence[Unit]) -> None:
    """Raise UserError if two sources would have the same output."""
    source_of: dict[Path, str] = {}
    for unit in units:
        other = source_of.setdefault(unit.output, unit.source)
        if other != unit.source:
            raise UserError(f"'{other}' and '{unit.source}' would both become '{unit.output}': rename one of them")


def _write_report(report: Path, failures: Mapping[str, str], units: Sequence[Unit]) -> None:
    sources = {unit.source for unit in units}
    rows = {path: reason for path, reason in read_report(report).items() if path not in sources} | dict(failures)
    if not rows:
        report.unlink(missing_ok=True)
        return
    with (
        replacing(report) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "reason"])
        writer.writerows(sorted(rows.items()))


def read_report(report: Path) -> dict[str, str]:
    """Source → reason, out of a report of `run_jobs`; empty where there is none."""
    if not report.exists():
        return {}
    with report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}
