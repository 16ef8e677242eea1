"""`kinema predict --every`: lines as they come, continued, drawn and rendered."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinema.cli import main
from tests.tasks.timeline.conftest import long_video

__all__ = ["long_video"]

EVERY = ["--every", "0.1", "--window", "0.5", "--device", "cpu"]


def run(arguments: list[object]) -> int:
    return main(["predict", *map(str, arguments), *EVERY])


def test_json_has_a_line_for_each_window(
    tiny_run: Path, long_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([tiny_run, long_video, "--json"]) == 0
    printed, said = capsys.readouterr()
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["start"] for line in lines] == [round(0.1 * k, 3) for k in range(len(lines))]
    assert all(line["end"] == pytest.approx(line["start"] + 0.5) for line in lines[:-1])
    assert all(sum(line["scores"].values()) == pytest.approx(1, abs=1e-4) for line in lines)
    assert "x real time" in said
    assert "latency per answer" in said
    for name in ("a.jsonl", "a.csv"):
        assert run([tiny_run, long_video, "--output", tmp_path / name]) == 0
    written = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [{key: line[key] for key in line if key != "origin"} for line in written] == lines
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, line in zip(rows, written, strict=True):
        assert (row["video"], float(row["start"]), float(row["end"])) == (line["video"], line["start"], line["end"])
        assert {name: float(row[name]) for name in line["scores"]} == line["scores"]


def test_people_read_times_and_the_best_labels(
    tiny_run: Path, long_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([tiny_run, long_video, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("0:00.1 – 0:00.6  ")
    assert len(lines[1].split()) == 5


def test_a_killed_run_is_continued(tiny_run: Path, long_video: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert run([tiny_run, long_video, "--output", whole]) == 0
    command = [sys.executable, "-m", "kinema", "predict", str(tiny_run), str(long_video), "--output", str(killed)]
    process = subprocess.Popen([*command, *EVERY], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (killed.exists() and killed.read_bytes().count(b"\n") > 3):
        pass
    process.kill()
    process.wait()
    assert whole.read_bytes().startswith(killed.read_bytes())
    assert run([tiny_run, long_video, "--output", killed]) == 0
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_that_ends_anywhere_is_continued(suffix: str, tiny_run: Path, long_video: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    assert run([tiny_run, long_video, "--output", whole]) == 0
    data = whole.read_bytes()
    for length in (0, 20, len(data) // 3, len(data) // 2, len(data) - 3, len(data)):
        cut.write_bytes(data[:length])
        assert run([tiny_run, long_video, "--output", cut]) == 0
        assert cut.read_bytes() == data


def test_other_windows_are_not_mixed(
    tiny_run: Path, long_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.jsonl"
    assert run([tiny_run, long_video, "--output", output]) == 0
    before = output.read_bytes()
    command = ["predict", str(tiny_run), str(long_video), "--output", str(output), "--every"]
    assert main([*command, "0.3"]) == 2
    assert "line 1: an answer of another model, or with other --every" in capsys.readouterr().err
    assert main(command[:-1]) == 2
    assert "not a prediction of `kinema predict`" in capsys.readouterr().err
    assert output.read_bytes() == before
    (tmp_path / "b.csv").write_text("video,label_1\n")
    assert main([*command[:4], str(tmp_path / "b.csv"), "--every", "1"]) == 2
    assert "found columns video, label_1" in capsys.readouterr().err


def test_drawn_and_rendered(tiny_run: Path, long_video: Path, tmp_path: Path) -> None:
    outputs = ["--timeline", tmp_path / "a.png", "--render", tmp_path / "a.mp4"]
    assert run([tiny_run, long_video, *outputs]) == 0
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape[1] == 1800
    with av.open(str(long_video)) as source, av.open(str(tmp_path / "a.mp4")) as rendered:
        expected = [float(frame.time) for frame in source.decode(video=0)]
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in rendered.decode(video=0)]
    assert np.allclose([time for time, _ in frames], np.array(expected) - expected[0], atol=1e-3)
    height = frames[0][1].shape[0]
    picture = height * 480 // (480 + 5 * 44 + 30)
    columns = [frame[picture + 10 : -40].min(axis=2).mean(axis=0) for _, frame in frames]
    assert all(column.max() > 120 for column in columns), "a white line marks the present moment"
    positions = [int(column.argmax()) for column in columns]
    assert np.all(np.diff(positions) >= -2), "it moves to the right"
    assert positions[-1] - positions[0] > 0.9 * columns[0].size - 40
    # Answers of an earlier call are drawn too.
    output = ["--output", tmp_path / "a.csv"]
    assert run([tiny_run, long_video, *output]) == 0
    assert run([tiny_run, long_video, *output, "--timeline", tmp_path / "b.png"]) == 0
    assert np.asarray(Image.open(tmp_path / "b.png")).shape == pixels.shape


def test_folders_of_images_need_their_rate(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(30):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / "frames" / f"img_{number + 1:05}.jpg")
    assert run([tiny_run, tmp_path / "frames"]) == 2
    assert "pass --fps" in capsys.readouterr().err
    assert run([tiny_run, tmp_path / "frames", "--fps", "10", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["end"] == 3.0


def test_a_bad_video_among_others(
    tiny_run: Path, long_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    assert run([tiny_run, tmp_path / "bad.mp4", long_video, "--json"]) == 2
    printed, said = capsys.readouterr()
    assert {json.loads(line)["video"] for line in printed.splitlines()} == {str(long_video)}
    assert "cannot be read" in said
    assert "bad.mp4" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--every", "0"], "--every 0: must be a number of seconds greater than 0"),
        (["--every", "1", "--window", "-1"], "--window -1: must be"),
        (["--window", "1"], "--window is for --every: pass --every SECONDS"),
        (["--timeline", "a.png"], "--timeline is for --every"),
        (["--every", "1", "--timeline", "a.jpg"], "--timeline a.jpg: found '.jpg'"),
        (["--every", "1", "--output", "a.json"], "--output a.json: found '.json'"),
    ],
)
def test_faulty_options(
    arguments: list[str], message: str, tiny_run: Path, long_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(tiny_run), str(long_video), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_windows_that_are_none_of_the_classes(
    tiny_run: Path, long_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([tiny_run, long_video, "--json"]) == 0
    usual = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    best = [max(line["scores"].items(), key=lambda pair: pair[1]) for line in usual]
    least = float(np.median([score for _, score in best]))
    asked = ["--min-score", least, "--top", "2"]
    for name in ("a.jsonl", "a.csv"):
        assert run([tiny_run, long_video, *asked, "--json", "--output", tmp_path / name]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [{key: line[key] for key in line if key != "predictions"} for line in lines] == usual
    answers = [line["predictions"] for line in lines]
    for line, answer, (label, score) in zip(usual, answers, best, strict=True):
        if score < least:
            assert answer == [{"label": None, "score": score}]
        else:
            likely = sorted(line["scores"].items(), key=lambda pair: -pair[1])[:2]
            assert answer == [{"label": name, "score": one} for name, one in likely if one >= least]
            assert answer[0]["label"] == label
    assert 0 < sum(answer[0]["label"] is None for answer in answers) < len(answers)
    written = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["predictions"] for line in written] == answers
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], float(row["score"])) for row in rows] == [
        (answer[0]["label"] or "", answer[0]["score"]) for answer in answers
    ]
    assert {name: float(rows[0][name]) for name in usual[0]["scores"]} == usual[0]["scores"]
    # Read again for pictures, continued, and kept apart from other answers.
    data = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(data[: len(data) // 2])
    pictures = ["--timeline", tmp_path / "a.png"]
    assert run([tiny_run, long_video, *asked, "--output", tmp_path / "a.csv", *pictures]) == 0
    assert (tmp_path / "a.csv").read_bytes() == data
    for output in ("a.csv", "a.jsonl"):
        assert run([tiny_run, long_video, "--output", tmp_path / output]) == 2
    capsys.readouterr()
    assert run([tiny_run, long_video, *asked]) == 0
    texts = capsys.readouterr().out.splitlines()
    assert ["none of these" in text for text in texts] == [answer[0]["label"] is None for answer in answers]
