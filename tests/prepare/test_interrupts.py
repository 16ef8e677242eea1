"""Ctrl-C ends jobs and real commands although their work never returns, and leaves only complete outputs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.prepare.working import make_units

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks a POSIX mutex")

JOBS = """
import signal, sys
from functools import partial
from pathlib import Path
from kinema.prepare.work.interrupts import own_process
from kinema.prepare.work.jobs import run_jobs
from tests.prepare.working import hang, make_units

if __name__ == "__main__":
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    try:
        with own_process():
            units = make_units(folder, list("abc"))
            run_jobs(partial(hang, None), units, title="hanging", report=folder / "report.csv", workers=workers)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
"""

COMMAND = """
import sys
from kinema.cli import main
import kinema.prepare.{module} as module
from tests.prepare.working import hang

module.{function} = hang

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def interrupt(folder: Path, script: str, *arguments: str, hanging: int) -> None:
    """Run a script, interrupt it as a terminal does when `hanging` items hang, and check how it ends.

    The items hang in a mutex that is locked twice: in native code that no signal gets into, so that only an end of its
    process ends it.
    """
    (folder / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(folder / "script.py"), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: len([*folder.rglob("*.hanging")]) == hanging, process)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        stderr = process.communicate(timeout=300)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(children, timeout=60)[1]


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    last = time.monotonic() + 300
    while not true():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < last
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_that_never_return_are_ended(workers: int, tmp_path: Path) -> None:
    interrupt(tmp_path, JOBS, str(tmp_path), str(workers), hanging=workers)
    assert not any(unit.output.exists() for unit in make_units(tmp_path, list("abc")))
    assert not [*tmp_path.rglob(".kinema-*")]


@pytest.mark.parametrize(
    ("command", "function", "workers"),
    [
        ("frames", "extract", 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("check", "check_video", 1),
                ("check", "check_video", 2),
                ("flow", "extract_flow", 1),
                ("pack", "pack", 2),
                ("resize", "reencode", 1),
            ]
        ),
    ],
)
def test_commands_that_never_return_are_ended(command: str, function: str, workers: int, tmp_path: Path) -> None:
    if command == "flow":
        pytest.importorskip("cv2")
    videos, output = tmp_path / "in/run", tmp_path / "out"
    videos.mkdir(parents=True)
    for name in "abc":
        (videos / f"{name}.mp4").touch()
    arguments = ["--report", str(output / "check.csv")] if command == "check" else [str(output)]
    arguments = ["prepare", command, str(tmp_path / "in"), *arguments, "--workers", str(workers)]
    interrupt(tmp_path, COMMAND.format(module=command, function=function), *arguments, hanging=workers)
    left = [path.name for path in output.rglob("*") if path.name.startswith(".kinema-")]
    assert left == ([".kinema-unfinished-check.csv"] if command == "check" else [])
    assert not [path for path in output.rglob("*") if path.suffix in (".mp4", ".pack", ".jpg")]
