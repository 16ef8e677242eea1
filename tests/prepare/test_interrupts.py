"""Ctrl-C: real commands in real processes end in time, leave whole outputs only, and go on where they were."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.data.drawn_videos import write_video

pytestmark = pytest.mark.slow

COMMANDS = [
    # One pair of these frames takes many seconds in OpenCV, which no signal gets into.
    ("flow", ["--short-side", "0", "--workers", "1"]),
    ("frames", ["--short-side", "0", "--workers", "2"]),
    ("resize", ["--preset", "veryslow", "--short-side", "1080", "--workers", "1"]),
    ("check", ["--workers", "2"]),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that take a while."""
    folder = tmp_path_factory.mktemp("videos") / "in"
    (folder / "run").mkdir(parents=True)
    write_video(folder / "run" / "0.mp4", size=(1920, 1080), times=range(30), options={"preset": "ultrafast"})
    for number in range(1, 20):
        (folder / "run" / f"{number}.mp4").hardlink_to(folder / "run" / "0.mp4")
    return folder


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize(("command", "options"), COMMANDS)
def test_an_interrupt_ends_a_command_in_time(command: str, options: list[str], videos: Path, tmp_path: Path) -> None:
    if command == "flow":
        pytest.importorskip("cv2")
    output = tmp_path / "out"
    arguments = [str(videos), *(["--report", str(output / "check.csv")] if command == "check" else [str(output)])]
    started = subprocess.Popen(
        [sys.executable, "-m", "kinema", "prepare", command, *arguments, *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        begun = ".kinema-*" if command == "check" else "run/.kinema-*"
        wait_until(lambda: started.poll() is not None or any(output.glob(begun)))
        assert started.poll() is None, started.stderr
        others = psutil.Process(started.pid).children(recursive=True)
        before = time.monotonic()
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does
        said = started.communicate(timeout=30)[1]
        seconds = time.monotonic() - before
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said
    # Two seconds on an idle machine. One that is busy takes longer, but not the minute that a pair of frames takes.
    assert seconds < 15
    wait_until(lambda: not any(other.is_running() for other in others), 2)
    left = [path.name for path in output.rglob("*") if path.name.startswith(".kinema-")]
    assert left == ([".kinema-unfinished-check.csv"] if command == "check" else [])
