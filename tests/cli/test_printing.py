"""What is printed is what was written, whatever it holds and wherever it goes."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.console import print_table, printable, progress

BRACKETS = ["Title [id].mp4", "x [bold].mp4", "open[close].mp4", "[red].mp4", ":smile:.mp4", "日本 [b].mp4"]


def test_tables_show_cells_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    long = "x" * 5000
    print_table(["name", "n"], [[name, "1"] for name in [*BRACKETS, long]])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "n"]
    assert [line.rsplit(maxsplit=1) for line in lines] == [[name, "1"] for name in [*BRACKETS, long]]
    assert header.index("n", 4) == 5002


def test_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["", ""], [["日本", "1"], ["abc", "2"]])
    assert capsys.readouterr().out == "日本  1\nabc   2\n"


def test_control_characters_and_raw_bytes_are_escaped() -> None:
    name = os.fsdecode(b"a\xff\n\x1b[31m.mp4")
    assert printable(name) == r"a\xff\n\x1b[31m.mp4"
    for kept in ("走る犬", "مشي\u200f", "👩‍👩‍👧", "naïve – “q”"):
        assert printable(kept) == kept


NAMES = [b"\xff\xfe.mp4", "走る [b].mp4".encode(), "é😀.mp4".encode(), b"plain.mp4"]
ENCODINGS = [{"PYTHONIOENCODING": "cp1252"}, {"PYTHONIOENCODING": "ascii:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]


@pytest.fixture(scope="module")
def odd_names(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    clips = sorted(sample.glob("val/*/*.mp4"))
    for name, clip in zip(NAMES, clips, strict=False):
        shutil.copy(clip, os.fsencode(folder) + b"/" + name)
    (folder / "notes [x].mp4").write_text("no video")
    return folder


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda environment: next(iter(environment.values())))
def test_every_video_is_answered_in_any_encoding(odd_names: Path, tiny_run: Path, environment: dict[str, str]) -> None:
    """One process answers in text and the same in JSON, and logs a bad file."""
    program = (
        "import sys; from kinema.cli import main\n"
        "codes = [main(['predict', *sys.argv[1:]]), main(['predict', *sys.argv[1:], '--json'])]\n"
        "sys.exit(codes != [2, 2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_run, odd_names],
        env={**os.environ, "PYTHONCOERCECLOCALE": "0", **environment},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"notes [x].mp4") == 2
    encoding = environment.get("PYTHONIOENCODING", "ascii").partition(":")[0]
    text, array = done.stdout.decode(encoding).split("\n[\n")
    assert len(text.splitlines()) == len(NAMES)
    answers = json.loads("[" + array, parse_constant=pytest.fail)
    # Names that this process decodes as UTF-8 are bytes beyond ASCII to a process whose locale is C.
    found = {Path(answer["video"]).name.encode("utf-8", "surrogateescape") for answer in answers}
    assert found == set(NAMES)


def test_brackets_in_names_and_labels(
    sample: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_run / "checkpoints/best", model)
    described = json.loads((model / "model.json").read_text())
    described["classes"] = [f"open[/b] {i} [i] :smile:" for i in range(8)]
    (model / "model.json").write_text(json.dumps(described))
    for name in BRACKETS:
        shutil.copy(next(sample.glob("val/*/*.mp4")), tmp_path / name)
    assert main(["predict", str(model), *(str(tmp_path / name) for name in BRACKETS), "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(lines, BRACKETS, strict=True):
        assert line.startswith(str(tmp_path / name))
        assert "  open[/b] " in line
        assert " [i] :smile: 0." in line


def test_a_fault_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/[bold]:smile:[/x]", "a.mp4"]) == 2
    assert "kinema: runs/[bold]:smile:[/x] does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "code", "said"), [("> /dev/full", 2, "No space left on device"), ("| true", 0, "")]
)
def test_output_that_nobody_takes(redirection: str, code: int, said: str) -> None:
    command = f"{sys.executable} -m kinema recipes --json {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_time_left_does_not_count_the_start(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, logger="kinema"), progress("reading", 10, every=0) as meter:
        for seconds in (60, 2, 2):  # the first unit waits for workers to start
            now[0] += seconds
            meter.advance()
    assert [record.getMessage() for record in caplog.records] == [
        "reading 1/10", "reading 2/10, 00:00:16 left", "reading 3/10, 00:00:14 left",
    ]  # fmt: skip
