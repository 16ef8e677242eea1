"""`kinema predict MODEL STREAM`: pipes, cameras, what ends them, and what is wrong with them."""

import csv
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from kinema.cli import main
from tests.data.drawn_videos import write_video
from tests.data.streams.live_servers import FPS, Answer, RtspServer, silence, streaming
from tests.docs.commands import ROOT, python_files
from tests.storage.servers import free_port

FRAMES = 200
PREDICT = [sys.executable, "-m", "kinema", "predict"]


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of MPEG-TS."""
    path = tmp_path_factory.mktemp("live") / "x.ts"
    write_video(path, times=range(FRAMES))
    return path


def started(*arguments: object, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    command = [*PREDICT, *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line_of(stream: IO[str] | None) -> dict[str, object]:
    assert stream is not None
    return dict(json.loads(stream.readline()))


def test_a_slow_pipe_has_the_answers_of_the_file(
    ts: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.csv"
    arguments = [tiny_run, "-", "--every", 1, "--window", 2, "--json", "--output", output, "--timeout", 1]
    running, data = started(*arguments, stdin=subprocess.PIPE), ts.read_bytes()
    assert running.stdin is not None
    pipe = running.stdin.buffer  # type: ignore[attr-defined]
    pipe.write(data[: len(data) * 2 // 3])
    pipe.flush()
    lines = [line_of(running.stdout)]  # printed while the pipe is silent
    assert running.stderr is not None
    while "no data for 1 s; still waiting" not in running.stderr.readline():
        assert running.poll() is None
    pipe.write(data[len(data) * 2 // 3 :])
    pipe.close()
    running.stdin = None
    printed, said = running.communicate(timeout=60)
    lines += map(json.loads, printed.splitlines())
    assert running.returncode == 0
    assert f"{len(lines)} answers" in said
    assert f"{FRAMES} frames" in said
    assert "0 windows dropped" in said

    assert main(["predict", str(tiny_run), str(ts), "--every", "1", "--window", "2", "--json"]) == 0
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(expected) == len(lines)
    for line, other in zip(lines, expected, strict=True):
        assert line["video"] == "-"
        assert (line["start"], line["end"]) == pytest.approx((other["start"], other["end"]), abs=2e-3)
        assert line["scores"] == pytest.approx(other["scores"], abs=1e-5)
    with output.open() as file:
        rows = list(csv.DictReader(file))
    for row, line in zip(rows, lines, strict=True):
        scores = dict(line["scores"])  # type: ignore[call-overload]
        assert row == {key: str(line[key]) for key in ("video", "time", "start", "end")} | {
            name: str(score) for name, score in scores.items()
        }


@pytest.mark.slow
def test_a_camera_until_ctrl_c(tiny_run: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", times=range(60 * FPS))
    with RtspServer(tmp_path / "x.mp4") as camera:
        url = camera.url.replace("://", "://admin:hunter2@")
        running = started(tiny_run, url, "--every", 0.5, "--window", 1, "--json")
        lines = [line_of(running.stdout) for _ in range(4)]
        now = datetime.now(UTC)
        running.send_signal(signal.SIGINT)
        printed, said = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "Traceback" not in said
    assert "answers in" in said
    assert "0 reconnections" in said
    assert "hunter2" not in printed + said + str(lines)
    assert {line["video"] for line in lines} == {camera.url}
    assert [line["start"] for line in lines] == sorted({float(str(line["start"])) for line in lines})
    times = [datetime.fromisoformat(str(line["time"])) for line in lines]
    assert all(time.tzinfo is not None for time in times)
    assert times == sorted(times)
    assert abs((now - times[-1]).total_seconds()) < 60


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_a_silent_stream(ts: Path, tiny_run: Path, times: int) -> None:
    def play(_: int) -> Answer:
        return itertools.chain([ts.read_bytes()], silence(90))

    with streaming(play) as server:
        running = started(tiny_run, server.url, "--live", "--every", 1, "--timeout", 300, "--json")
        line_of(running.stdout)
        time.sleep(1)
        began = time.monotonic()
        for _ in range(times):
            running.send_signal(signal.SIGINT)
            time.sleep(0.3)
        _, said = running.communicate(timeout=80)
        assert time.monotonic() - began < 60  # neither the time limit nor the server's pause
    assert running.returncode == (0 if times == 1 else -signal.SIGINT)
    assert ("answers in" in said) == (times == 1)


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_stream(ts: Path, tiny_run: Path) -> None:
    with streaming(lambda _: itertools.cycle([ts.read_bytes()])) as server:
        running = started(tiny_run, server.url, "--live", "--every", 1, "--json")
        line_of(running.stdout)
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()
        assert running.wait(60) == 0


def test_events(ts: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The scores of this model are near 1/8 throughout: with these thresholds every class is one event.
    options = [
        "--live",
        "--every",
        "1",
        "--events",
        "--curve.high",
        "0.05",
        "--curve.low",
        "0.01",
        "--background",
        "growing",
    ]
    data, classes = ts.read_bytes(), 7
    with streaming(lambda _: data) as server:
        url = server.url.replace("://", "://admin:hunter2@")
        for output in ("x.csv", "x.jsonl"):
            assert main(["predict", str(tiny_run), url, *options, "--output", str(tmp_path / output), "--json"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][: 2 * classes]
        assert main(["predict", str(tiny_run), url, *options]) == 0
        shown = capsys.readouterr().out.splitlines()
    assert [line["event"] for line in lines] == ["start"] * classes + ["end"] * classes
    ends = lines[classes:]
    assert {line["label"] for line in ends} == {line["label"] for line in lines[:classes]}
    assert "growing" not in {line["label"] for line in ends}
    for line in ends:
        assert (line["video"], line["start"], line["end"]) == (server.url, 0, pytest.approx(FRAMES / FPS, abs=0.05))
        lasted = datetime.fromisoformat(line["end_time"]) - datetime.fromisoformat(line["start_time"])
        assert lasted.total_seconds() == pytest.approx(line["end"] - line["start"], abs=0.002)
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    kept = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [(row["label"], row["start"], row["end"], row["peak"]) for row in rows] == [
        (line["label"], str(line["start"]), str(line["end"]), str(line["peak"])) for line in ends
    ]
    assert [line["event"] for line in kept] == [line["event"] for line in lines]
    assert sum("starts" in line for line in shown) == sum("ends after 8.0 s" in line for line in shown) == classes


def test_windows_that_are_none_of_the_classes(
    ts: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, options = ts.read_bytes(), ["--live", "--every", "2", "--min-score", "0.9"]
    with streaming(lambda _: data) as server:
        command = ["predict", str(tiny_run), server.url, *options]
        assert main([*command, "--json", "--output", str(tmp_path / "x.csv")]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert main(command) == 0
        shown = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shown) > 2
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    for line, row, text in zip(lines, rows, shown, strict=True):
        assert line["predictions"] == [{"label": None, "score": max(line["scores"].values())}]
        assert (row["label"], row["score"]) == ("", str(line["predictions"][0]["score"]))
        assert "none of these" in text


def test_the_alarm_of_the_page() -> None:
    page = "docs/live_streams.md"
    lines = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)]
    others = [{**line, "label": "walk"} for line in lines]
    program, text = python_files(page)["alarm.py"], "".join(f"{json.dumps(line)}\n" for line in [*lines, *others])
    said = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True
    ).stdout
    assert said == f"fall at {lines[0]['start_time']} before {lines[0]['video']}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["udp://127.0.0.1:5", "--live"], 2, "found udp://; allowed: rtsp://"),
        (["rstp://admin:hunter2@127.0.0.1/x"], 2, "did you mean 'rtsp'"),
        (["a.mp4", "rtsp://admin:hunter2@127.0.0.1/x"], 2, "Unrecognized"),
        (["rtsp://127.0.0.1/x", "--no-such", "rtsp://admin:hunter2@127.0.0.1/x"], 2, "Unrecognized"),
        (["-", "--every", "0"], 2, "--every: found 0"),
        (["-", "--curve.high", "0.7"], 2, "--curve is for --events"),
        (["-", "--events", "--min-score", "0.9"], 2, "--min-score is for the scores of windows"),
        (["-", "--events", "--curve.low", "0.9"], 2, "low 0.9 must not be greater than high 0.5"),
        (["-", "--output", "x.txt"], 2, "allowed: .csv or .jsonl"),
        (["/dev/video99"], 2, "/dev/video99: No such file"),
        (["rtsp://admin:hunter2@127.0.0.1:PORT/x"], 75, "Connection refused. Run the same command again"),
        (["http://admin:hunter2@127.0.0.1:PORT/x.m3u8"], 75, "Connection refused"),
    ],
)
def test_faults(arguments: list[str], code: int, said: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [one.replace("PORT", str(free_port())) for one in arguments]
    assert main(["predict", str(tiny_run), *given]) == code
    printed = capsys.readouterr()
    assert said in " ".join(printed.err.split())
    assert "hunter2" not in printed.out + printed.err
    assert "Traceback" not in printed.err


def test_a_file_of_other_columns_is_not_appended_to(
    ts: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("video,label_1\nx,y\n")
    with streaming(lambda _: ts.read_bytes()) as server:
        assert main(["predict", str(tiny_run), server.url, "--live", "--output", str(tmp_path / "x.csv")]) == 2
        assert "found columns video, label_1" in capsys.readouterr().err
        (tmp_path / "x.jsonl").write_text('{"kept": 1}\n{"cut')
        arguments = ["predict", str(tiny_run), server.url, "--live", "--every", "4", "--window", "4"]
        assert main([*arguments, "--output", str(tmp_path / "x.jsonl")]) == 0
    assert (tmp_path / "x.csv").read_text() == "video,label_1\nx,y\n"
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert lines[0] == {"kept": 1}
    assert [line["start"] for line in lines[1:]] == [0, 4]
