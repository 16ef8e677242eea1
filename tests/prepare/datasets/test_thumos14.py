"""THUMOS14's files for each class: small ones, and the real ones."""

import json
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets.thumos14 import Thumos14, prepare_thumos14, read_thumos14
from tests.data.drawn_videos import write_video
from tests.prepare.datasets.trees import write_files

FILES: dict[str, str | bytes] = {
    "annotations_test/Diving_test.txt": "video_test_0000004  49.2 53.5\r\nvideo_test_0000004  0.2 1.1\r\n",
    "annotations_test/CliffDiving_test.txt": "video_test_0000004 49.2 53.5\n\n",
    "annotations_test/Ambiguous_test.txt": "video_test_0000004 3 4\nvideo_test_0000009 5.5 6\n",
    "annotations_val/Diving_val.txt": "video_validation_0000051 1.0 2.0\n",
}


def test_ground_truth_in_activitynets_layout(tmp_path: Path) -> None:
    report = prepare_thumos14(Thumos14(annotations=write_files(tmp_path / "a", FILES), output=tmp_path / "out"))
    assert json.loads((tmp_path / "out/ground_truth.json").read_text())["database"] == {
        "video_test_0000004": {
            "subset": "test",
            "annotations": [
                {"segment": [0.2, 1.1], "label": "Diving"},
                {"segment": [3.0, 4.0], "label": "Ambiguous"},
                {"segment": [49.2, 53.5], "label": "CliffDiving"},
                {"segment": [49.2, 53.5], "label": "Diving"},
            ],
        },
        "video_test_0000009": {"subset": "test", "annotations": [{"segment": [5.5, 6.0], "label": "Ambiguous"}]},
        "video_validation_0000051": {
            "subset": "validation",
            "annotations": [{"segment": [1.0, 2.0], "label": "Diving"}],
        },
    }
    assert (tmp_path / "out/classes.txt").read_text() == "CliffDiving\nDiving\n"
    assert [(split.split, split.listed, split.found) for split in report.splits] == [
        ("test", 2, None),
        ("val", 1, None),
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes.md": ""}, "has no files such as"),
        ({"Diving_test.txt": "video_test_0000004 49.2\n"}, "Diving_test.txt:1"),
        ({"a/Diving_test.txt": "v 1 2\n", "b/Diving_test.txt": "v 1 2\n"}, "have the same name"),
    ],
)
def test_faults_are_named(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_thumos14(write_files(tmp_path, files))


def test_durations_come_from_the_videos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    official = write_files(tmp_path / "a", FILES)
    videos = write_files(tmp_path / "videos", {"video_test_0000009.mp4": b"no video"})
    (videos / "test").mkdir()
    write_video(videos / "test/video_test_0000004.mp4", times=range(50))
    report = prepare_thumos14(Thumos14(annotations=official, videos=videos, output=tmp_path / "out"))
    database = json.loads((tmp_path / "out/ground_truth.json").read_text())["database"]
    assert database["video_test_0000004"]["duration"] == pytest.approx(2.0, abs=0.05)
    assert "duration" not in database["video_test_0000009"]
    assert "video_test_0000009.mp4" in caplog.text
    assert (tmp_path / "out/missing_val.txt").read_text() == "video_validation_0000051\n"
    assert [(split.found, split.missing) for split in report.splits] == [(2, 0), (0, 1)]


def test_the_real_files(shared: Path, tmp_path: Path) -> None:
    """Every line of every file arrives: counted without any of the code that reads them."""
    folder = shared / "data/thumos14"
    lines = {
        file.name.removesuffix("_test.txt"): sum(1 for line in file.open() if line.strip())
        for file in (folder / "annotation_test").glob("*_test.txt")
    }
    report = prepare_thumos14(Thumos14(annotations=folder, output=tmp_path))
    database = json.loads((tmp_path / "ground_truth.json").read_text())["database"]
    labels = [instance["label"] for video in database.values() for instance in video["annotations"]]
    assert {label: labels.count(label) for label in set(labels)} == lines
    assert (len(lines), report.classes, len(labels) - lines["Ambiguous"]) == (21, 20, 3358)
    (test,) = report.splits
    assert (test.split, test.listed, len(database)) == ("test", 213, 213)
    numbered = (folder / "annotation_test/detclasslist.txt").read_text().split()
    assert (tmp_path / "classes.txt").read_text().split() == numbered[1::2]
