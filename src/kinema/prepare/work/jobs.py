"""Resumable conversion of files: only missing outputs are written, in parallel, with a report of failures."""

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
from kinema.storage import check_no_pipe, is_url, recover_folder, remove_leftovers, write_csv, write_text
from kinema.urls import hide_secrets, name_of_url

log = logging.getLogger(__name__)

_REPORT_COLUMNS = ["path", "reason"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A source, a path or URL, and its output; paths are absolute, as other machines may do the work."""

    source: str
    output: Path


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Result of `run_jobs`."""

    done: int
    """Number of outputs written."""
    kept: int
    """Number of outputs that existed already."""
    failures: Mapping[str, str]
    """Reason for each source that failed."""

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 if every source has an output, otherwise 1."""
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
    """Call `work(unit)` for every unit whose output is missing, and log a summary.

    Killed or interrupted at any time, it leaves only complete outputs; another call continues, and retries what failed.
    It ends within two seconds of an interrupt or of SIGTERM, which a cluster sends before it reclaims a machine.

    Args:
        work: Creates `unit.output`, a file or a folder, atomically (`replacing`, `replacing_folder`), or raises
            MediaError. A picklable function of a module, or a `functools.partial` of one.
        units: Units in any order. No other call may work on the same outputs at the same time.
        title: Title of the progress bar.
        report: CSV file `path,reason` of the sources that failed, removed when there are none. Rows about sources not
            in `units` are kept.
        workers, cluster: See `in_parallel`.

    Raises:
        UserError: Two sources have the same output, `report` is another file, or there is no such cluster.
    """
    units = list(dict.fromkeys(units))
    check_outputs(units)
    read_report(report)  # before any work, as it may be another file
    missing = [unit for unit in units if not recover_folder(unit.output).exists()]
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
    log.info("%s: %d done, %d existed already, %d failed", title, done, len(units) - len(missing), len(failures))
    if failures:
        log.error("%d of %d failed; for the reasons see %s", len(failures), len(units), report)
    return Summary(done=done, kept=len(units) - len(missing), failures=failures)


def claim_folder(folder: Path, record: str, settings: Mapping[str, Any]) -> None:
    """Write `settings` to the JSON file `record` of an output folder, or check that they are those recorded there.

    This keeps existing outputs from being completed with other settings.

    Raises:
        UserError: Other settings are recorded, or the folder has no record but holds other (non-hidden) files.
    """
    path = folder / record
    if path.exists():
        recorded = json.loads(path.read_text(encoding="utf-8"))
        names = [*settings, *(name for name in recorded if name not in settings)]
        differing = [
            f"{name} {recorded.get(name)} (now {settings.get(name)})"
            for name in names
            if recorded.get(name) != settings.get(name)
        ]
        if differing:
            raise UserError(
                f"{path}: this folder was written with other options: {', '.join(differing)}; "
                "pass the same options to complete it, or another folder"
            )
    elif folder.exists() and not all(entry.name.startswith(".") for entry in folder.iterdir()):
        raise UserError(f"{folder}: the folder holds other files and no {record}; pass a new or an empty folder")
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
    """Run the work, adding to `failures` as they occur."""
    results = in_parallel(partial(_attempt, work), missing, workers=workers, cluster=cluster, on_crash=_crashed)
    with progress(title, kept + len(missing), done=kept) as meter, closing(results):
        for source, reason in results:
            if reason:
                failures[source] = reason
                log.warning("%s: %s", source, reason)
            meter.advance(figures=f"{len(failures)} failed" if failures else "")


def _attempt(work: Callable[[Unit], None], unit: Unit) -> tuple[str, str]:
    """Return the name of the unit's source and the reason it failed, or an empty string."""
    if unit.output.exists():  # written by a process that died before it returned
        return name_in_report(unit.source), ""
    try:
        check_no_pipe(unit.source)
        work(unit)
    except MediaError as error:
        return name_in_report(unit.source), error.reason
    return name_in_report(unit.source), ""


def _crashed(unit: Unit) -> tuple[str, str]:
    return name_in_report(unit.source), "its process died at every try: the file crashes the decoder, or memory ran out"


def name_in_report(source: str) -> str:
    """Return a path or URL as reports have it, without the secrets of a URL."""
    if is_url(source):
        return name_of_url(source)
    return hide_secrets(source)  # a URL that was taken for a path


def check_outputs(units: Sequence[Unit]) -> None:
    """Raise UserError if two sources have the same output."""
    source_of: dict[Path, str] = {}
    for unit in units:
        other = source_of.setdefault(unit.output, unit.source)
        if other != unit.source:
            raise UserError(
                f"'{other}' and '{unit.source}' would both be written to '{unit.output}': rename one of them"
            )


def _write_report(report: Path, failures: Mapping[str, str], units: Sequence[Unit]) -> None:
    sources = {name_in_report(unit.source) for unit in units}
    rows = {path: reason for path, reason in read_report(report).items() if path not in sources} | dict(failures)
    if not rows:
        report.unlink(missing_ok=True)
        return
    write_csv(report, [_REPORT_COLUMNS, *sorted(rows.items())])


def read_report(report: Path) -> dict[str, str]:
    """Read a report of `run_jobs`: source → reason, empty where there is no file.

    Raises:
        UserError: The file is not a report.
    """
    if not report.exists():
        return {}
    with report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if header != _REPORT_COLUMNS or any(len(row) != len(header) for row in rows):
        raise UserError(f"{report}: not a report of failures (path,reason); move it to another folder")
    return dict(rows)
