"""`kinema predict` on folders: interrupted, continued, rendered."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kinema
from kinema.cli import main

COPIES = 400


@pytest.fixture(scope="module")
def many(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    clips = sorted(sample.glob("val/*/*.mp4"))
    for number in range(COPIES):
        (folder / f"{number}.mp4").symlink_to(clips[number % len(clips)])
    return folder


def test_an_interrupted_call_keeps_its_answers_and_is_continued(many: Path, tiny_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "answers.jsonl"
    command = [sys.executable, "-m", "kinema", "predict", tiny_run, many, "--output", output, "--top", "2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stderr is not None
    lines = [running.stdout.readline() for _ in range(3)]  # printed as they come
    assert lines[0].startswith(str(many / "0.mp4"))
    running.send_signal(signal.SIGINT)
    further, said = running.stdout.read(), running.stderr.read()  # communicate() would lose lines that are buffered
    assert running.wait(120) == 130
    assert said.endswith("kinema: interrupted\n")
    assert "Traceback" not in said
    before = output.read_text().splitlines()
    assert len(before) == 3 + len(further.splitlines()) < COPIES

    output.write_text("\n".join(before) + '\n{"video": "cut')
    assert main([str(part) for part in command[3:]]) == 0
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["video"] for answer in answers] == [str(many / f"{number}.mp4") for number in range(COPIES)]
    model = kinema.load(tiny_run)
    for number in (0, len(before), COPIES - 1):
        for one, expected in zip(answers[number]["predictions"], model.predict(many / f"{number}.mp4"), strict=False):
            assert (one["label"], one["score"]) == (expected.label, pytest.approx(expected.score, rel=1e-5))


def test_an_interrupted_array_is_whole(many: Path, tiny_run: Path) -> None:
    command = [sys.executable, "-m", "kinema", "predict", tiny_run, many, "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    while "model:" not in running.stderr.readline():  # the model is loaded: answers come
        assert running.poll() is None
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=120)
    assert running.returncode == 130
    assert 0 <= len(json.loads(printed)) < COPIES


def test_outputs_of_one_command_keep_apart(
    sample: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted(sample.glob("val/*/*.mp4"))
    for name, clip in zip(("a/01.mp4", "b/01.mp4", "b/02.mp4"), clips, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(tiny_run), "a/01.mp4", "b/01.mp4", "--render", "out"]) == 0
    assert sorted(path.as_posix() for path in Path("out").rglob("*.mp4")) == ["out/a/01.mp4", "out/b/01.mp4"]
    # Answers of an earlier call are drawn without being asked again.
    capsys.readouterr()
    assert main(["predict", str(tiny_run), "b", "--output", "x.csv", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["predict", str(tiny_run), "b", "--output", "x.csv", "--json", "--render", "out"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {"out/01.mp4", "out/02.mp4"} < {path.as_posix() for path in Path("out").rglob("*.mp4")}
    before = Path("b/01.mp4").read_bytes()
    assert main(["predict", str(tiny_run), "b", "--render", "b"]) == 2
    assert "would overwrite the video b/01.mp4" in capsys.readouterr().err
    assert Path("b/01.mp4").read_bytes() == before
