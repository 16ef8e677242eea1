"""Something-Something V1 and V2, and Jester."""

import json
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets import DATASETS
from kinema.prepare.datasets.official import Listed
from kinema.prepare.datasets.something import Jester, read_semicolons, read_sthv2
from tests.prepare.datasets.trees import empty_files, table, write_files

LIFTING = "Lifting something up completely, then letting it drop down"
V1: dict[str, str | bytes] = {
    "something-something-v1-labels.csv": f"Holding something\n{LIFTING}\n",
    "something-something-v1-train.csv": f"100218;{LIFTING}\n7;Holding something\n",
    "something-something-v1-validation.csv": "8;Holding something\n",
    "something-something-v1-test.csv": "9\n10\n",
}


def test_v1(tmp_path: Path) -> None:
    found = read_semicolons(write_files(tmp_path, V1), "something-something-v1")
    assert found.classes == ("Holding something", LIFTING)
    assert found.splits == {
        "train": [Listed(names=("100218",), labels=(1,)), Listed(names=("7",), labels=(0,))],
        "val": [Listed(names=("8",), labels=(0,))],
        "test": [Listed(names=("9",)), Listed(names=("10",))],
    }


def v2_files() -> dict[str, str | bytes]:
    train = [{"id": "78687", "label": "holding potato", "template": "Holding [something]", "placeholders": ["potato"]}]
    return {
        "labels.json": json.dumps({"Putting something in something": "1", "Holding something": "0"}),
        "train.json": json.dumps(train),
        "validation.json": json.dumps([{"id": "5", "template": "Putting [something] in [something]"}]),
        "test.json": json.dumps([{"id": "1420"}]),
    }


def test_v2(tmp_path: Path) -> None:
    found = read_sthv2(write_files(tmp_path, v2_files()))
    assert found.classes == ("Holding something", "Putting something in something")
    assert found.splits == {
        "train": [Listed(names=("78687",), labels=(0,))],
        "val": [Listed(names=("5",), labels=(1,))],
        "test": [Listed(names=("1420",))],
    }
    older = {f"something-something-v2-{name}": text for name, text in v2_files().items()}
    assert read_sthv2(write_files(tmp_path / "older", older)) == found
    write_files(tmp_path, {"test-answers.csv": "1420;Putting something in something\n"})
    assert read_sthv2(tmp_path).splits["test"] == [Listed(names=("1420",), labels=(1,))]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("train.json", json.dumps([{"id": "3", "template": "Hiding [something]"}]), "id 3.*'Hiding something'"),
        ("train.json", "[{]", "train.json:1: not JSON"),
        ("labels.json", json.dumps({"Holding something": "1"}), "the indices 0, 1"),
    ],
)
def test_v2_faults_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_sthv2(write_files(tmp_path, v2_files() | {name: text}))


def test_jester_rawframes(tmp_path: Path) -> None:
    official = write_files(
        tmp_path / "official",
        {
            "jester-v1-labels.csv": "Swiping Left\nThumb Up\n",
            "jester-v1-train.csv": "34870;Thumb Up\n56557;Swiping Left\n",
            "jester-v1-validation.csv": "9223;Swiping Left\n",
        },
    )
    frames = [f"20bn-jester-v1/34870/{number:05}.jpg" for number in range(1, 38)]
    flow = [f"20bn-jester-v1/9223/flow_{axis}_{number:05}.jpg" for axis in "xy" for number in range(1, 3)]
    others = [f"20bn-jester-v1/9223/{number:05}.jpg" for number in range(1, 4)]
    videos = empty_files(tmp_path / "videos", *frames, *flow, *others)
    DATASETS["jester"].prepare(Jester(annotations=official, videos=videos, output=tmp_path / "out", source="rawframes"))
    header = ["path", "class", "num_frames"]
    assert table(tmp_path / "out/train.csv") == [header, ["20bn-jester-v1/34870", "Thumb Up", "37"]]
    assert table(tmp_path / "out/val.csv") == [header, ["20bn-jester-v1/9223", "Swiping Left", "3"]]
    assert (tmp_path / "out/classes.txt").read_text() == "Swiping Left\nThumb Up\n"
    assert (tmp_path / "out/missing_train.txt").read_text() == "56557\n"
