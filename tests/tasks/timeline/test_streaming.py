"""`kinema.load(MODEL).stream(…)` along videos and live streams: the answers of the command."""

import contextlib
import io
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import kinema
from kinema.cli import main
from kinema.errors import MediaError, StorageOutage, UserError
from kinema.prediction import WindowPrediction
from kinema.tasks.recognition.predictor import RecognizerPredictor
from tests.data.drawn_videos import write_video
from tests.data.streams.live_servers import FPS, RtspServer, streaming


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> RecognizerPredictor:
    model = kinema.load(tiny_run, device="cpu")
    assert isinstance(model, RecognizerPredictor)
    return model


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of MPEG-TS, which can be read from a pipe."""
    path = tmp_path_factory.mktemp("live") / "x.ts"
    write_video(path, times=range(150))
    return path


ALONG = {"every": 1.0, "window": 2.0}


@pytest.fixture(scope="module")
def lines(tiny_run: Path, recording: Path) -> list[dict[str, Any]]:
    """What the command says of the recording."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        arguments = ["predict", str(tiny_run), str(recording), "--every", "1", "--json", "--device", "cpu"]
        assert main([*arguments, "--min-score", "0.126"]) == 0
    return [json.loads(line) for line in printed.getvalue().splitlines()]


def same_answers(found: list[WindowPrediction], lines: list[dict[str, Any]], *, live: bool) -> None:
    assert len(found) == len(lines) > 4
    for one, line in zip(found, lines, strict=True):
        said = one.as_json()
        assert [*said] == [*line][:1] + ["time"] * live + [*line][1:]
        assert (said["start"], said["end"]) == pytest.approx((line["start"], line["end"]), abs=2e-3)
        assert said["scores"] == pytest.approx(line["scores"], abs=1e-5)
        assert [answer["label"] for answer in said["predictions"]] == [
            answer["label"] for answer in line["predictions"]
        ]
        assert [answer.label or None for answer in one.predictions] == [one["label"] for one in said["predictions"]]


def test_answers_along_a_video_are_those_of_the_command(
    model: RecognizerPredictor, recording: Path, lines: list[dict[str, Any]]
) -> None:
    with recording.open("rb") as file:
        for source in (recording, str(recording), recording.read_bytes(), file):
            found = list(model.stream(source, **ALONG, min_score=0.126))
            same_answers(found, lines, live=False)
            named = not isinstance(source, bytes)
            assert {one.video for one in found} == {str(recording) if named else "a file in memory"}
    assert file.closed


def test_answers_along_live_streams_are_those_of_the_command(
    model: RecognizerPredictor, recording: Path, lines: list[dict[str, Any]]
) -> None:
    with streaming(lambda _: recording.read_bytes()) as server:
        url = server.url.replace("://", "://admin:hunter2@")
        before = time.time()
        found = list(model.stream(url, live=True, **ALONG, min_score=0.126))
        assert all(one.time is not None and before <= one.time <= time.time() for one in found)
        with urlopen(server.url) as response:
            both = [found, list(model.stream(response, **ALONG, min_score=0.126))]
    with subprocess.Popen(["cat", str(recording)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        both.append(list(model.stream(process.stdout, **ALONG, min_score=0.126)))
    for one, name in zip(both, (server.url, "a pipe", "a pipe"), strict=True):
        same_answers(one, lines, live=True)
        assert {answer.video for answer in one} == {name}


def test_a_stream_that_is_closed_ends_its_thread(model: RecognizerPredictor, recording: Path) -> None:
    before, (reading, writing) = set(threading.enumerate()), os.pipe()
    with open(reading, "rb") as source, open(writing, "wb") as pipe:  # noqa: PTH123 - descriptors
        pipe.write(recording.read_bytes())  # the pipe stays open: more may come
        pipe.flush()
        answers = model.stream(source, every=1.0, window=1.0)
        assert next(answers).start == 0
        answers.close()
        for thread in set(threading.enumerate()) - before:
            thread.join(60)  # it looks a few times a second whether it is to end
            assert not thread.is_alive()


@pytest.mark.slow
def test_a_camera_in_python(model: RecognizerPredictor, tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", times=range(30 * FPS))
    with RtspServer(tmp_path / "x.mp4") as camera:
        answers = model.stream(camera.url, every=0.5, window=1.0)
        found = [next(answers) for _ in range(4)]
        answers.close()
    assert [one.start for one in found] == sorted({one.start for one in found})
    assert {one.video for one in found} == {camera.url}


@pytest.mark.parametrize(
    ("source", "options", "error", "said"),
    [
        ("rtsp://a:hunter2@127.0.0.1:1/x", {}, StorageOutage, "rtsp://127.0.0.1:1/x: Connection refused"),
        ("/dev/video99", {}, MediaError, "/dev/video99: No such file"),
        ("udp://127.0.0.1:1", {}, UserError, "found udp://; allowed: rtsp://"),
        ("clip.mp4", {"live": True}, UserError, "clip.mp4 is no live stream"),
        (b"bytes", {"live": True}, UserError, "live=True is for the URL of a live stream"),
        (io.StringIO("text"), {}, UserError, "opened as text"),
        ("clip.mp4", {"every": 0}, UserError, "--every 0: must be a number of seconds"),
    ],
)
def test_faults_of_live_streams(
    source: Any, options: dict[str, Any], error: type[Exception], said: str, model: RecognizerPredictor
) -> None:
    with pytest.raises(error, match=said) as raised:
        list(model.stream(source, **options))
    assert "hunter2" not in str(raised.value)
