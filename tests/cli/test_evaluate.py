"""`kinema evaluate` from files to what is printed."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kinema.cli import main

TRUTH: dict[str, Any] = {
    "a": {"subset": "validation", "duration": 20.0, "annotations": [{"segment": [0, 10], "label": "Jump"}]},
    "b": {"subset": "validation", "duration": 20.0, "annotations": [{"segment": [5, 9], "label": "Run"}]},
}
FOUND = {
    "a": [{"segment": [0, 8], "score": 0.9, "label": "Jump"}],
    "b": [{"segment": [5, 9], "score": 0.8, "label": "Run"}, {"segment": [0, 1], "score": 0.9, "label": "Run"}],
}


def arguments(folder: Path, truth: dict[str, Any] | None = None, found: dict[str, Any] | None = None) -> list[str]:
    (folder / "truth.json").write_text(json.dumps({"database": truth or TRUTH}))
    (folder / "results.json").write_text(json.dumps({"results": found or FOUND}))
    return ["--ground-truth", str(folder / "truth.json"), "--results", str(folder / "results.json")]


def told(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, Any]:
    assert main(["evaluate", *command, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_detection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = told(capsys, "detection", "--protocol", "activitynet", *arguments(tmp_path))
    # Jump is found with tIoU 0.8; Run exactly, but behind a false positive.
    high = ("0.85", "0.9", "0.95")
    assert list(metrics["mAP"]) == ["0.5", "0.55", "0.6", "0.65", "0.7", "0.75", "0.8", *high]
    assert metrics["mAP"] == {name: 0.25 if name in high else 0.75 for name in metrics["mAP"]}
    assert metrics["average_mAP"] == pytest.approx(0.6)


def test_thumos14_and_other_thresholds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = arguments(tmp_path)
    metrics = told(capsys, "detection", "--protocol", "thumos14", *files)
    by_threshold = dict.fromkeys(("0.3", "0.4", "0.5", "0.6", "0.7"), 0.75)
    assert metrics == {"mAP": by_threshold, "average_mAP": 0.75, "left_out": 0}
    # THUMOS14 wants more than the threshold, ActivityNet is content with it.
    assert told(capsys, "detection", "--protocol", "thumos14", "--thresholds", "0.8", *files)["mAP"] == {"0.8": 0.25}
    assert told(capsys, "detection", "--thresholds", "0.8", *files)["mAP"] == {"0.8": 0.75}


@pytest.mark.parametrize(("threshold", "published"), [("0.3", 0.5011), ("0.5", 0.3096)])
def test_thumos14s_own_files(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], threshold: str, published: float
) -> None:
    folder = shared / "data" / "thumos14"
    truth: dict[str, Any] = {}
    for file in sorted((folder / "annotation_test").glob("*_test.txt")):
        for line in file.read_text().splitlines():
            video, start, end = line.split()
            instance = {"segment": [float(start), float(end)], "label": file.name.removesuffix("_test.txt")}
            truth.setdefault(video, {"subset": "test", "annotations": []})["annotations"].append(instance)
    files = arguments(tmp_path, truth=truth)
    files[-1] = str(folder / f"CBR_THUMOS-14_IoU{threshold}.txt")
    metrics = told(capsys, "detection", "--protocol", "thumos14", "--thresholds", threshold, *files)
    assert metrics["average_mAP"] == pytest.approx(published, abs=5e-5)


def test_lines_of_text_equal_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = {
        "video_1": {"annotations": [{"segment": [0, 10], "label": "Diving"}, {"segment": [20, 30], "label": "Run"}]}
    }
    files = arguments(tmp_path, truth=truth)
    (tmp_path / "found.txt").write_text("video_1 0.0 9.5 26 0.9\n\nvideo_1  20 30  Run 1e-3\n")
    files[-1] = str(tmp_path / "found.txt")
    assert told(capsys, "detection", *files, "--thresholds", "0.5", "0.99")["mAP"] == {"0.5": 1.0, "0.99": 0.5}


@pytest.mark.parametrize("line", ["video_1 0 1 1 0.5", "video_1 0 1 Diving", "video_1 x 1 Diving 0.5"])
def test_a_faulty_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    files = arguments(tmp_path)
    (tmp_path / "found.txt").write_text(f"video_1 0 1 Jump 0.5\n{line}\n")
    files[-1] = str(tmp_path / "found.txt")
    assert main(["evaluate", "detection", *files]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "line 2: expected video start end class score" in said
    assert f"found '{line}'" in said


def test_names_with_and_without_v(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {f"v_{video}": list_ for video, list_ in FOUND.items()}
    assert told(capsys, "detection", *arguments(tmp_path, found=found))["average_mAP"] == pytest.approx(0.6)
    truth = {f"v_{video}": entry for video, entry in TRUTH.items()}
    assert told(capsys, "detection", *arguments(tmp_path, truth=truth))["average_mAP"] == pytest.approx(0.6)


def test_proposals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = told(capsys, "proposals", *arguments(tmp_path))
    assert list(metrics) == ["AR@1", "AR@5", "AR@10", "AR@100", "AUC"]
    assert metrics["AR@100"] == pytest.approx((7 / 10 + 1) / 2)


def test_proposals_by_thumos14s_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = told(capsys, "proposals", "--protocol", "thumos14", *arguments(tmp_path))
    assert list(metrics) == ["AR@50", "AR@100", "AR@200", "AR@500", "AR@1000"]
    # All proposals count from an average of 1.5 on: 241 of 301 frames of a, all of b.
    assert metrics["AR@1000"] == pytest.approx((7 / 11 + 1) / 2)


def test_classes_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "tables" / "classes.csv"
    told(capsys, "detection", "--thresholds", "0.75", "0.85", "--per-class", str(table), *arguments(tmp_path))
    header, jump, run = list(csv.reader(table.read_text().splitlines()))
    assert header == ["class", "instances", "AP@0.75", "AP@0.85", "mean"]
    assert jump == ["Jump", "1", "1.0", "0.0", "0.5"]  # found with tIoU 0.8
    assert run == ["Run", "1", "0.5", "0.5", "0.5"]
    (tmp_path / "file").write_text("")
    faulty = ["--per-class", str(tmp_path / "file" / "classes.csv")]
    assert main(["evaluate", "detection", *faulty, *arguments(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "classes.csv"
    metrics = told(capsys, "frames", "--per-class", str(table), *arguments(tmp_path))
    # Points every 0.8 s. Jump, 0 to 10 s, has 13, of which 11 are found first; the others are the first of the rest.
    # Run, 5 to 9 s of b, has 5 (5.6 … 8.8) after two wrong ones.
    run = sum(rank / (rank + 2) for rank in range(1, 6)) / 5
    assert metrics == {"mAP": pytest.approx((1 + run) / 2), "weighted_mAP": pytest.approx((13 + 5 * run) / 18),
                       "points": 50, "left_out": 0}  # fmt: skip
    assert table.read_text().splitlines()[:2] == ["class,points,AP", "Jump,13,1.0"]
    metrics = told(capsys, "frames", "--protocol", "multithumos", "--rate", "5", *arguments(tmp_path))
    assert metrics["points"] == 200
    assert main(["evaluate", "frames", "--rate", "0", *arguments(tmp_path)]) == 2
    assert "--rate: found 0" in " ".join(capsys.readouterr().err.split())


def test_frames_need_durations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = {"a": {"annotations": TRUTH["a"]["annotations"]}}
    assert main(["evaluate", "frames", *arguments(tmp_path, truth=truth)]) == 2
    assert "video a has no duration in seconds" in " ".join(capsys.readouterr().err.split())


def test_ambiguous_instances_are_not_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unclear = {"c": {"subset": "validation", "annotations": [{"segment": [0, 10], "label": "Ambiguous"}]}}
    assert told(capsys, "proposals", *arguments(tmp_path, truth=TRUTH | unclear))["AR@100"] == pytest.approx(0.85)


def test_known_answers(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared / "data" / "evaluation_cases" / "activitynet_small"
    files = ["--ground-truth", str(folder / "ground_truth.json"), "--results", str(folder / "results.json")]
    metrics = told(capsys, "detection", *files)
    assert metrics["mAP"]["0.75"] == pytest.approx(0.5972222, abs=1e-7)
    assert metrics["average_mAP"] == pytest.approx(0.6177579365079365)
    metrics = told(capsys, "proposals", *files)
    assert (metrics["AR@100"], metrics["AUC"]) == pytest.approx((0.75, 0.72525))


def test_proposals_labelled_by_video_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unlabelled = {video: [{**each, "label": "?"} for each in list_] for video, list_ in FOUND.items()}
    files = arguments(tmp_path, found=unlabelled)
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"class": ["Run", "Jump"], "results": {"a": [0.1, 0.9], "b": [0.6, 0.4]}}))
    metrics = told(capsys, "detection", "--video-classes", str(classes), *files)
    assert metrics["mAP"]["0.5"] == 0.75
    classes.write_text(json.dumps({"class": ["Run", "Jump"], "results": {"a": [0.9, 0.1], "b": [0.6, 0.4]}}))
    # Video a's best class is wrong: Run's hit comes third, and so does Jump's once a second class counts.
    one = told(capsys, "detection", "--video-classes", str(classes), *files)
    assert one["mAP"]["0.5"] == pytest.approx((0 + 1 / 3) / 2)
    two = told(capsys, "detection", "--video-classes", str(classes), "--top-classes", "2", *files)
    assert two["mAP"]["0.5"] == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_results_of_unknown_labels_are_counted_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {**FOUND, "a": [*FOUND["a"], {"segment": [0, 10], "score": 1.0, "label": "Swim"}]}
    files = arguments(tmp_path, found=odd)
    metrics = told(capsys, "detection", *files)
    assert (metrics["average_mAP"], metrics["left_out"]) == (pytest.approx(0.6), 1)
    assert main(["evaluate", "detection", "--strict", *files]) == 2
    assert "the ground truth has no label 'Swim'" in " ".join(capsys.readouterr().err.split())


def test_of_several_subsets_the_reported_one_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = {"c": {"subset": "training", "annotations": [{"segment": [0, 1], "label": "Jump"}]}}
    files = arguments(tmp_path, truth=TRUTH | training)
    assert told(capsys, "detection", *files)["average_mAP"] == pytest.approx(0.6)
    assert told(capsys, "proposals", *files)["AR@100"] == pytest.approx(0.85)
    assert told(capsys, "proposals", "--subset", "training", *files)["AR@100"] == 0
    odd = {video: {**entry, "subset": f"part{k}"} for k, (video, entry) in enumerate(TRUTH.items())}
    assert main(["evaluate", "proposals", *arguments(tmp_path, truth=odd)]) == 2
    assert "of which --subset must choose one: part0, part1" in " ".join(capsys.readouterr().err.split())


def test_errors_as_table_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = arguments(tmp_path)
    picture = tmp_path / "plots" / "errors.png"
    assert main(["evaluate", "detection", "--errors", "--plot", str(picture), *files]) == 0
    table = capsys.readouterr().out
    assert "double detection" in table
    assert "length in seconds" in table
    assert picture.stat().st_size > 10_000
    errors = told(capsys, "detection", "--errors", *files)["errors"]
    assert errors["shares"]["background"] == pytest.approx(1 / 3)
    assert "errors" not in told(capsys, "detection", *files)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--thresholds", "1.5"], "threshold of tIoU is above 0 and at most 1, not 1.5"),
        (["--top-classes", "0"], "--top-classes: found 0; allowed: an integer at least 1"),
        (["--subset", "validaton"], "did you mean 'validation'"),
        (["--video-classes", "nowhere.json"], "nowhere.json: No such file"),
    ],
)
def test_faults_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str) -> None:
    assert main(["evaluate", "detection", *extra, *arguments(tmp_path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_unknown_branches_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "detektion"]) == 2
    assert "did you mean 'detection'" in capsys.readouterr().err
