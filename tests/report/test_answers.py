"""Answers are in their file as soon as they are there, and a later call goes on behind them."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.prediction import Prediction
from kinema.report.answers import AnswerFile

RAW = os.fsdecode(b"raw \xff.mp4")
ANSWERS = {
    "a.mp4": [Prediction("run", 0.75), Prediction("swim", 0.1 + 0.2)],
    'b, "c"\n[d].mp4': [Prediction("走る", 1e-12), Prediction('a, "b"\nc', 0.0)],
    RAW: [Prediction("x\r\ny", 1.0), Prediction("", 0.5)],
}


def write(path: Path, answers: dict[str, list[Prediction]] = ANSWERS) -> bytes:
    with AnswerFile(path, weights="abc", top=2) as file:
        for video, predictions in answers.items():
            if video not in file.answers:
                file.add(video, predictions)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_cut_anywhere_is_completed(suffix: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole{suffix}")
    path = tmp_path / f"cut{suffix}"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert write(path) == whole, length


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@settings(deadline=None, max_examples=50)
@given(
    answers=st.dictionaries(
        st.text(min_size=1), st.lists(st.tuples(st.text(), st.floats(0, 1)), min_size=2, max_size=2)
    )
)
def test_answers_come_back(
    suffix: str, tmp_path_factory: pytest.TempPathFactory, answers: dict[str, list[tuple[str, float]]]
) -> None:
    path = tmp_path_factory.mktemp("answers") / f"x{suffix}"
    written = {video: [Prediction(*pair) for pair in pairs] for video, pairs in answers.items()}
    write(path, written)
    with AnswerFile(path, weights="abc", top=2) as file:
        assert file.answers == written


def test_what_other_programs_read(tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video", "label_1", "score_1", "label_2", "score_2", "weights"]
    assert [row["video"] for row in rows] == list(ANSWERS)
    assert [(row["label_2"], float(row["score_2"])) for row in rows] == [
        (second.label, second.score) for _, second in ANSWERS.values()
    ]
    write(tmp_path / "x.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["video"] for line in lines] == list(ANSWERS)
    assert lines[0]["predictions"] == [{"label": "run", "score": 0.75}, {"label": "swim", "score": 0.1 + 0.2}]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("x.json", "", r"found '\.json'; allowed: \.csv or \.jsonl; did you mean '\.jsonl'"),
        ("x.csv", "path,label\na.mp4,run\n", "found columns path, label"),
        ("x.csv", "video,label_1,score_1,weights\n", "--top"),
        ("x.jsonl", '{"a": 1}\n', "line 1: not a prediction"),
        ("x.jsonl", "text\n", "line 1: not a prediction"),
        ("x.jsonl", '{"video": "a", "predictions": [], "weights": "abd"}\n', "another model"),
        ("x.jsonl", '{"video": "a", "predictions": [], "weights": "abc"}\n', "found 0 classes"),
        ("file/x.csv", None, "cannot be written"),
    ],
)
def test_other_files_are_refused_and_stay(name: str, content: str | None, fault: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=fault):
        AnswerFile(tmp_path / name, weights="abc", top=2)
    assert content is None or (tmp_path / name).read_text() == content


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_full_disk_is_said_once(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot be written: No space left"):
        write(path)
