"""Interrupted, killed or failing, a job leaves whole outputs only, and the next call does what is missing."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from kinema.errors import UserError
from kinema.prepare.work.jobs import Unit, claim_folder, run_jobs
from tests.prepare.working import copy, make_units


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "out").iterdir()}


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_are_reported_and_tried_again(tmp_path: Path, workers: int) -> None:
    units = make_units(tmp_path, ["good", "bad", "fine", "bad"])
    run = partial(run_jobs, copy, units, title="copying", report=tmp_path / "report.csv", workers=workers)
    summary = run()
    assert (summary.done, summary.kept, summary.exit_code) == (2, 0, 1)
    with (tmp_path / "report.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"], [units[1].source, "it is bad"], [units[3].source, "it is bad"]
        ]  # fmt: skip
    assert written(tmp_path) == {"0.txt": "good", "2.txt": "fine"}
    before = (tmp_path / "out/0.txt").stat().st_mtime_ns

    Path(units[1].source).write_text("mended")
    Path(units[3].source).write_text("mended, too")
    summary = run()
    assert (summary.done, summary.kept, summary.exit_code) == (2, 2, 0)
    assert written(tmp_path) == {"0.txt": "good", "1.txt": "mended", "2.txt": "fine", "3.txt": "mended, too"}
    assert (tmp_path / "out/0.txt").stat().st_mtime_ns == before
    assert not (tmp_path / "report.csv").exists()


def test_a_file_that_kills_its_process_is_a_failure_of_its_own(tmp_path: Path) -> None:
    texts = ["one", "deadly", "two", "deadly once", "three", "bad", "four"]
    units = make_units(tmp_path, texts)
    summary = run_jobs(copy, units, title="copying", report=tmp_path / "report.csv", workers=2)
    assert summary.done == 5
    assert {Path(source).name for source in summary.failures} == {"1.txt", "5.txt"}
    assert "died at every try" in summary.failures[units[1].source]
    assert written(tmp_path) == {f"{k}.txt": text for k, text in enumerate(texts) if k not in (1, 5)}


def test_a_fault_of_the_options_stops_everything(tmp_path: Path) -> None:
    units = make_units(tmp_path, ["bad", "wrong"])
    with pytest.raises(UserError, match="the options are wrong"):
        run_jobs(copy, units, title="copying", report=tmp_path / "report.csv", workers=1)
    assert "it is bad" in (tmp_path / "report.csv").read_text()


SCRIPT = """
import signal, sys
from functools import partial
from pathlib import Path
from kinema.prepare.work.jobs import run_jobs
from tests.prepare.working import copy, make_units

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    units = make_units(folder, [f"text {k}" for k in range(12)])
    work = partial(copy, log=folder / "log", gate=folder / "gate")
    run_jobs(work, units, title="copying", report=folder / "report.csv", workers=workers)
"""


@pytest.mark.parametrize(
    ("name", "workers", "code"), [("SIGINT", 2, 1), ("SIGINT", 1, 1), ("SIGTERM", 2, 143), ("SIGKILL", 2, -9)]
)
def test_a_stopped_run_loses_nothing_and_redoes_nothing(tmp_path: Path, name: str, workers: int, code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path), str(workers)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "out").is_dir() and len(list((tmp_path / "out").glob("[0-9]*"))) == 4)
        others = psutil.Process(process.pid).children(recursive=True)
        assert workers == 1 or len(others) >= workers
        process.send_signal(getattr(signal, name))
        returned = process.wait(300)
    finally:
        process.kill()
    # Python ends itself by SIGINT where nobody catches the interrupt.
    assert returned in (code, -signal.SIGINT if name == "SIGINT" else code)
    wait_until(lambda: not any(other.is_running() for other in others))
    whole = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9]*")}
    assert {path.name: path.read_text() for path in whole} == {f"{k}.txt": f"text {k}" for k in range(4)}

    begun = (tmp_path / "log").read_text().splitlines()
    (tmp_path / "gate").touch()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert written(tmp_path) == {f"{k}.txt": f"text {k}" for k in range(12)}
    assert {path: path.stat().st_mtime_ns for path in whole} == whole
    again = (tmp_path / "log").read_text().splitlines()[len(begun) :]
    assert sorted(again) == sorted({f"{k}.txt" for k in range(12)} - {path.name for path in whole})


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_two_sources_of_one_output_are_refused(tmp_path: Path) -> None:
    units = [Unit(source=name, output=tmp_path / "a.mp4") for name in ("a.avi", "a.mkv")]
    with pytest.raises(UserError, match=r"'a\.avi' and 'a\.mkv' would both be written to"):
        run_jobs(copy, units, title="copying", report=tmp_path / "report.csv")


def test_reports_of_other_sources_stay(tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    report.write_text("path,reason\n/elsewhere/x.mp4,it is short\n")
    run_jobs(copy, make_units(tmp_path, ["good"]), title="copying", report=report, workers=1)
    assert report.read_text().split() == ["path,reason", "/elsewhere/x.mp4,it", "is", "short"]


@pytest.mark.parametrize("content", ["", "name,price\nx,3\n", "path,reason\na,b,c\n"])
def test_another_file_is_not_taken_for_a_report(content: str, tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    report.write_text(content)
    units = make_units(tmp_path, ["good"])
    with pytest.raises(UserError, match=r"report\.csv: not a report of failures"):
        run_jobs(copy, units, title="copying", report=report, workers=1)
    assert report.read_text() == content
    assert not units[0].output.exists()


def test_a_folder_keeps_its_settings(tmp_path: Path) -> None:
    claim_folder(tmp_path / "out", "resize.json", {"short_side": 256})
    claim_folder(tmp_path / "out", "resize.json", {"short_side": 256})
    with pytest.raises(UserError, match=r"resize\.json.*short_side 256 \(now 320\)"):
        claim_folder(tmp_path / "out", "resize.json", {"short_side": 320})
    with pytest.raises(UserError, match=r"other files and no frames\.json"):
        claim_folder(tmp_path / "out", "frames.json", {"quality": 95})
