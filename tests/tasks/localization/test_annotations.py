"""Files of ground truth and results: formats, faults, subsets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.tasks.localization.metrics.annotations import AMBIGUOUS, read_ground_truth, read_results, subsets_of
from kinema.tasks.localization.metrics.detection import average_precision
from tests.tasks.localization.activitynet_files import Database, Found, measured, written


@pytest.mark.parametrize(
    ("truth", "results", "message"),
    [
        ({"v": [(5.0, 2.0, "Jump")]}, {}, r"video v ends before it starts: \[5.0, 2.0\]"),
        ({"v": [(0.0, float("nan"), "Jump")]}, {}, "video v has no segment"),
        (
            {"v": [(0.0, 2.0, "Jump")]},
            {"v": [(0.0, 1.0, "Jump", float("nan"))]},
            "score of video v is the number nan, expected a finite number",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, truth: Database, results: Found, message: str) -> None:
    with pytest.raises(UserError, match=message):
        measured(tmp_path, truth, results, "activitynet", (0.5,))


def video(**entry: Any) -> str:
    """A ground truth of one video."""
    return json.dumps({"database": {"v": {"subset": "test", **entry}}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not of ActivityNet's layout: it is a list, expected an object with 'database'"),
        ('{"database": []}', "not of ActivityNet's layout: its 'database' is a list, expected an object"),
        ('{"v_1": {}}', "no object 'database', but v_1"),
        ('{"database": {"v": [[0, 1]]}}', "video v is a list, expected an object with 'annotations'"),
        ('{"v": [], "w": {"annotations": []}}', "video v is a list, expected an object with 'annotations'"),
        (video(annotations=None), "the annotations of video v are null, expected a list"),
        (video(annotations={}), "the annotations of video v are an object, expected a list"),
        (video(annotations=[[0, 1]]), "one of the annotations of video v is a list, expected an object with 'segment'"),
        (
            video(duration="1:40", annotations=[]),
            "the duration of video v is the text '1:40', expected a finite number",
        ),
        (video(duration=[9], annotations=[]), "the duration of video v is a list, expected a finite number"),
        (video(duration=True, annotations=[]), "the duration of video v is true, expected a finite number"),
        (
            video(duration=float("nan"), annotations=[]),
            "the duration of video v is the number nan, expected a finite number",
        ),
        (video(duration=-4, annotations=[]), "the duration of video v is -4, expected seconds"),
        (video(annotations=[{"segment": [0, 1]}]), "an instance of video v has no label"),
        (video(annotations=[{"segment": [0, 1], "label": ["a"]}]), "a label of video v is a list, expected a name or"),
        (video(annotations=[{"segment": [0, 1], "label": True}]), "a label of video v is true, expected a name or"),
        (video(annotations=[{"segment": [0], "label": "a"}]), r"video v has no segment \[start, end\]"),
        (video(annotations=[{"segment": "0-1", "label": "a"}]), r"video v has no segment \[start, end\]"),
        (video(annotations=[{"segment": {"start": 0}, "label": "a"}]), r"video v has no segment \[start, end\]"),
        (video(feature_frame=0, duration_frame=9), "video v feature_frame is 0 and duration_frame 9"),
    ],
)
def test_faults_of_a_ground_truth_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(UserError, match=message) as fault:
        read_ground_truth(tmp_path / "truth.json")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "its 'results' is a list, expected an object"),
        ({"v": {}}, "the results of video v are an object, expected a list"),
        ({"v": [[0, 1, 0.5]]}, "one of the results of video v is a list, expected an object with 'segment'"),
        ({"v": [{"segment": [0, 1], "score": 1}]}, "a result of video v has no label"),
        ({"v": [{"segment": [0, 1], "score": 1, "label": 1.5}]}, "a label of video v is the number 1.5"),
        ({"v": [{"segment": [0, 1], "label": "1"}]}, "the score of video v is null, expected a finite number"),
    ],
)
def test_faults_of_results_are_named(tmp_path: Path, results: Any, message: str) -> None:
    (tmp_path / "truth.json").write_text(video(annotations=[{"segment": [0, 1], "label": 1}]))
    (tmp_path / "results.json").write_text(json.dumps({"results": results}))
    truth = read_ground_truth(tmp_path / "truth.json")
    with pytest.raises(UserError, match=message):
        read_results(tmp_path / "results.json", truth, labelled=True)


def test_integers_are_labels_and_a_mark_at_the_start_of_a_file_is_no_fault(tmp_path: Path) -> None:
    text = video(annotations=[{"segment": [0, 1], "label": 3}, {"segment": [2, 3], "label": 0}])
    (tmp_path / "truth.json").write_text(text, encoding="utf-8-sig")
    truth = read_ground_truth(tmp_path / "truth.json")
    assert truth.labels == ("0", "3")
    found = {"v": [{"segment": [0, 1], "score": 1, "label": 3}, {"segment": [2, 3], "score": 0.5, "label": "0"}]}
    (tmp_path / "results.json").write_text(json.dumps({"results": found}))
    results = read_results(tmp_path / "results.json", truth, labelled=True)
    table = average_precision(truth, results, protocol="activitynet", thresholds=(0.95,))
    assert table.tolist() == [[1], [1]]


def test_segments_without_labels_are_enough_for_proposals(tmp_path: Path) -> None:
    annotations = [{"segment": [0, 1]}, {"segment": [2, 3], "label": "Jump"}, {"segment": [4, 5], "label": AMBIGUOUS}]
    (tmp_path / "truth.json").write_text(video(annotations=annotations))
    truth = read_ground_truth(tmp_path / "truth.json", labelled=False)
    assert truth.labels == ("", "Jump")
    assert truth.label.tolist() == [0, 1, -1]


def test_the_layout_of_mmaction2(tmp_path: Path) -> None:
    """Its anet_anno_*.json name no subsets, and say how many of a video's frames have features."""
    entry = {"duration_second": 20.9, "duration_frame": 418, "feature_frame": 400, "fps": 20.0, "rfps": 20.0}
    videos = {"v_a": {**entry, "annotations": [{"segment": [1, 2], "label": "Jump"}]}, "v_b": {"annotations": []}}
    (tmp_path / "anet_anno_val.json").write_text(json.dumps(videos))
    truth = read_ground_truth(tmp_path / "anet_anno_val.json")
    assert (truth.videos, truth.labels) == (("v_a", "v_b"), ("Jump",))
    assert truth.feature_shares is not None
    np.testing.assert_array_equal(truth.durations, [20.9, np.nan])
    np.testing.assert_allclose(truth.feature_shares, [400 / 418, np.nan])
    assert subsets_of(tmp_path / "anet_anno_val.json") == ()
    with pytest.raises(UserError, match="no subset 'validation': it does not say of what subset its videos are"):
        read_ground_truth(tmp_path / "anet_anno_val.json", subset="validation")


def test_results_of_labels_that_no_instance_has_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They count neither for nor against any class, wherever they rank."""
    truth: Database = {"v": [(0.0, 2.0, "Jump"), (4.0, 6.0, "Run")]}
    right: Found = {"v": [(0.0, 2.0, "Jump", 0.5), (4.0, 6.0, "Run", 0.4)]}
    more: Found = {"v": [(0.0, 2.0, "Jmup", 0.9), (9.0, 9.5, "Jump", 0.1), *right["v"], (4.0, 6.0, "Swim", 0.8)]}
    for protocol in ("activitynet", "thumos14"):
        _, table = measured(tmp_path, truth, more, protocol, (0.5,))
        assert table.tolist() == [[1], [1]]
    said = "2 of 5 results are left out, as the ground truth has none of their 2 labels, such as 'Jmup'; did you mean"
    assert said in caplog.text
    truth_file, results_file = written(tmp_path, truth, more)
    with pytest.raises(UserError, match=r"no label 'Jmup'; did you mean 'Jump'\? \(2 labels are unknown\)"):
        read_results(results_file, read_ground_truth(truth_file), labelled=True, strict=True)


def test_results_of_other_subsets_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    instance = {"segment": [0, 2], "label": "Jump"}
    videos = {name: {"subset": subset, "annotations": [instance]} for name, subset in (("a", "train"), ("b", "val"))}
    found = {name: [{**instance, "score": score}] for name, score in (("v_a", 0.9), ("v_b", 0.8), ("v_c", 0.1))}
    (tmp_path / "truth.json").write_text(json.dumps({"database": videos}))
    (tmp_path / "results.json").write_text(json.dumps({"results": found}))
    truth = read_ground_truth(tmp_path / "truth.json", subset="val")
    results = read_results(tmp_path / "results.json", truth, labelled=True)
    assert results.scores.tolist() == [0.8, 0.1]
    assert results.others == ("v_c",)
    assert "1 of 3 videos are of other subsets of the ground truth, and left out" in caplog.text


def test_an_unknown_subset_is_named(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{"database": {"v": {"subset": "validation"}}}')
    with pytest.raises(UserError, match="no subset 'validaton'; did you mean 'validation'"):
        read_ground_truth(tmp_path / "truth.json", subset="validaton")


def test_results_of_unknown_videos_are_mistakes_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth: Database = {"v": [(0.0, 2.0, "Jump")]}
    found: Found = {"v": [(0.0, 2.0, "Jump", 0.5)], "w": [(0.0, 2.0, "Jump", 0.9)]}
    _, table = measured(tmp_path, truth, found, "activitynet", (0.5,))
    assert table.tolist() == [[0.5]]
    assert "1 of 2 videos are not in the ground truth, such as w: their results count as mistakes" in caplog.text


def test_odd_segments_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A segment that ends before it starts is a mistake of its rank; one that leaves the video is taken as it is."""
    found: Found = {"v": [(2.0, 0.0, "Jump", 0.9), (-0.5, 2.0, "Jump", 0.5), (0.0, 2.0, "Jump", 0.4)]}
    _, results = written(tmp_path, {}, found)
    (tmp_path / "truth.json").write_text(
        json.dumps({"database": {"v": {"duration": 2, "annotations": [{"segment": [0, 2], "label": "Jump"}]}}})
    )
    ground_truth = read_ground_truth(tmp_path / "truth.json")
    detections = read_results(results, ground_truth, labelled=True)
    assert "1 of 3 segments end before they start, and count as mistakes, such as [2.0, 0.0] of video v" in caplog.text
    assert "1 of 3 segments reach outside their video, and count as they are, such as [-0.5, 2.0]" in caplog.text
    table = average_precision(ground_truth, detections, protocol="activitynet", thresholds=(0.5, 0.9))
    assert table.tolist() == [[1 / 2, 1 / 3]]
