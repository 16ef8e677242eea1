"""ActivityNet's JSON file: a small one, and the real one."""

import json
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets.activitynet import ActivityNet, prepare_activitynet, read_activitynet
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import empty_files, table, write_files

DATABASE = {
    "QOlSCBRmfWY": {
        "duration": 82.7,
        "subset": "training",
        "annotations": [
            {"segment": [0.0, 10.0], "label": "Ballet"},
            {"segment": [20.0, 26.0], "label": "Archery"},
            {"segment": [30.0, 36.0], "label": "Archery"},
        ],
    },
    "K6Tm5xHkJ5c": {"duration": 9.0, "subset": "validation", "annotations": [{"segment": [1, 2], "label": "Ballet"}]},
    "KrwFx7kw2pY": {"duration": 223.7, "subset": "testing", "annotations": []},
}
NAME = "activity_net.v1-3.min.json"


def test_rows_classes_and_lists(tmp_path: Path) -> None:
    """A label counts by how long its instances are together: 12 seconds of archery against 10 of ballet."""
    text = json.dumps({"database": DATABASE, "taxonomy": [], "version": "VERSION 1.3"}, indent=3)
    official = write_files(tmp_path / "official", {NAME: text})
    found = read_activitynet(official / NAME)
    assert found.classes == ("Archery", "Ballet")
    assert found.splits == {
        "train": [Listed(names=("v_QOlSCBRmfWY", "QOlSCBRmfWY"), labels=(0,))],
        "val": [Listed(names=("v_K6Tm5xHkJ5c", "K6Tm5xHkJ5c"), labels=(1,))],
        "test": [Listed(names=("v_KrwFx7kw2pY", "KrwFx7kw2pY"))],
    }
    videos = empty_files(tmp_path / "videos", "v1-3/train_val/v_QOlSCBRmfWY.mp4", "K6Tm5xHkJ5c.mkv")
    report = prepare_activitynet(ActivityNet(annotations=official, videos=videos, output=tmp_path / "out"))
    assert (tmp_path / "out/ground_truth.json").read_text() == text
    assert table(tmp_path / "out/train.csv") == [["path", "class"], ["v1-3/train_val/v_QOlSCBRmfWY.mp4", "Archery"]]
    assert table(tmp_path / "out/val.csv") == [["path", "class"], ["K6Tm5xHkJ5c.mkv", "Ballet"]]
    assert (tmp_path / "out/missing_test.txt").read_text() == "v_KrwFx7kw2pY\n"
    assert [split.found for split in report.splits] == [1, 1, 0]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"results": {}},
        {"database": {"a": {"subset": "holdout", "annotations": []}}},
        *(
            {"database": {"a": {"subset": "training", "annotations": faulty}}}
            for faulty in (None, {}, [[0, 1]], [{"segment": [0, 1]}], [{"segment": "0-1", "label": "Archery"}])
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=f"{NAME}.*expected"):
        read_activitynet(write_files(tmp_path, {NAME: json.dumps(content)}) / NAME)


def test_the_real_file(shared: Path, tmp_path: Path) -> None:
    """The numbers that ActivityNet 1.3 is published with, and those of the file's own description."""
    folder = shared / "data/activitynet"
    report = prepare_activitynet(ActivityNet(annotations=folder, output=tmp_path))
    assert report.classes == 200
    assert len((tmp_path / "classes.txt").read_text().splitlines()) == 200
    assert {split.split: split.listed for split in report.splits}["val"] == 4728
    assert sum(split.listed for split in report.splits) == 19228
    written = json.loads((tmp_path / "ground_truth.json").read_text())["database"]
    validation = [video for video in written.values() if video["subset"] == "validation"]
    assert sum(len(video["annotations"]) for video in validation) == 7293
