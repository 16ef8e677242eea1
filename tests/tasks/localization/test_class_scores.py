"""Labels for proposals, and the files that they come from and go to."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results, read_ground_truth, read_results
from kinema.tasks.localization.metrics.class_scores import (
    VideoClasses,
    label_proposals,
    label_results,
    read_video_classes,
)
from kinema.tasks.localization.metrics.results import Proposals, results_layout, write_results

TWO = Proposals(segments=np.array([[0.0, 5.0], [2.0, 9.0]]), scores=np.array([0.9, 0.5]))


def test_every_proposal_gets_the_best_classes() -> None:
    found = label_proposals(TWO, np.array([0.1, 0.6, 0.0, 0.3]), top=2)
    expected = [
        (0.9 * 0.6, 1, [0.0, 5.0]),
        (0.5 * 0.6, 1, [2.0, 9.0]),
        (0.9 * 0.3, 3, [0.0, 5.0]),
        (0.5 * 0.3, 3, [2.0, 9.0]),
    ]
    assert found.scores == pytest.approx([score for score, _, _ in expected])
    assert found.labels.tolist() == [label for _, label, _ in expected]
    assert found.segments.tolist() == [segment for _, _, segment in expected]


def truth_of(folder: Path) -> GroundTruth:
    database = {
        "a": {"subset": "test", "annotations": [{"segment": [0, 5], "label": "Jump"}]},
        "b": {"subset": "test", "annotations": [{"segment": [0, 5], "label": "Run"}]},
    }
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    return read_ground_truth(folder / "truth.json")


def proposals_of(truth: GroundTruth) -> Results:
    """Two proposals of video b around one of video a."""
    return Results(
        video=np.array([1, 0, 1]),
        label=np.full(3, -1),
        segments=np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]),
        scores=np.array([0.5, 0.6, 0.7]),
    )


def test_each_video_gets_its_own_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = truth_of(tmp_path)
    scores = {"v_a": np.array([0.2, 0.7, 0.1]), "b": np.array([0.8, 0.1, 0.3])}
    classes = VideoClasses(classes=("Run", "Jump", "Swim"), scores=scores)
    found = label_results(proposals_of(truth), classes, truth, top=2)
    names = np.array(truth.labels)[found.label]
    rows = sorted(zip(found.video.tolist(), names.tolist(), found.segments[:, 1].tolist(), found.scores, strict=True))
    assert [row[:3] for row in rows] == [(0, "Jump", 2), (0, "Run", 2), (1, "Run", 1), (1, "Run", 3)]
    assert [row[3] for row in rows] == pytest.approx([0.6 * 0.7, 0.6 * 0.2, 0.5 * 0.8, 0.7 * 0.8])
    assert found.left_out == 2  # Swim, the second class of the proposals of b


def test_classes_of_no_instance_and_videos_without_scores_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = truth_of(tmp_path)
    swims = VideoClasses(classes=("Swim", "Run"), scores={"b": np.array([0.7, 0.3])})
    found = label_results(proposals_of(truth), swims, truth, top=2)
    assert found.video.tolist() == [1, 1]
    assert found.label.tolist() == [1, 1]
    assert found.left_out == 3
    assert "1 of 2 videos have no class scores, such as a: their 1 proposals are left out" in caplog.text
    assert "2 of 4 results are left out, as the ground truth has none of their 1 labels, such as 'Swim'" in caplog.text
    with pytest.raises(UserError, match="video a has no class scores; there are some for 1 videos"):
        label_results(proposals_of(truth), swims, truth, top=2, strict=True)
    both = VideoClasses(classes=("Swim", "Run"), scores={video: np.array([0.7, 0.3]) for video in "ab"})
    with pytest.raises(UserError, match="the ground truth has no label 'Swim'"):
        label_results(proposals_of(truth), both, truth, top=1, strict=True)


def test_faults_of_classes_are_named(tmp_path: Path) -> None:
    truth = truth_of(tmp_path)
    with pytest.raises(UserError, match="video a has no class scores"):
        label_results(proposals_of(truth), VideoClasses(classes=("Run",), scores={"c": np.ones(1)}), truth, top=1)
    with pytest.raises(UserError, match=r"none of the classifier's 1 classes \(Swim"):
        label_results(proposals_of(truth), VideoClasses(classes=("Swim",), scores={}), truth, top=1)


def test_class_scores_of_cuhk_and_of_kinema(tmp_path: Path) -> None:
    content = {"class": ["Run", "Jump"], "results": {"a": [0.25, 0.75], "b": [1.0, 0.0]}}
    (tmp_path / "cuhk.json").write_text(json.dumps(content))
    np.savez(
        tmp_path / "scores.npz",
        paths=np.array(["videos/run/a.mp4", "videos/b.webm"]),
        labels=np.array([0, 1]),
        scores=np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
        classes=np.array(["Run", "Jump"]),
    )
    for file in ("cuhk.json", "scores.npz"):
        found = read_video_classes(tmp_path / file)
        assert found.classes == ("Run", "Jump")
        assert {video: found.scores[video].tolist() for video in "ab"} == content["results"]


def test_class_scores_in_activitynets_layout(tmp_path: Path) -> None:
    """A label that a video does not have is never its class, however many classes it may have."""
    results = {"a": [{"label": "Run", "score": 0.2}, {"label": 7, "score": 0.8}], "b": [], "c": [LOW, HIGH]}
    (tmp_path / "classes.json").write_text(json.dumps({"version": "VERSION 1.3", "results": results}))
    found = read_video_classes(tmp_path / "classes.json")
    assert found.classes == ("7", "Jump", "Run")
    assert {video: scores.tolist() for video, scores in found.scores.items()} == {
        "a": [0.8, -np.inf, 0.2],
        "c": [-np.inf, 0.9, -np.inf],
    }
    assert label_proposals(TWO, found.scores["c"], top=3).labels.tolist() == [1, 1]


LOW, HIGH = ({"label": "Jump", "score": score} for score in (0.1, 0.9))


def test_videos_of_one_name_have_no_class_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = ["x/01.mp4", "y/01.mp4", "frames/v.1", "frames/v.2", "z/02.mp4"]
    np.savez(
        tmp_path / "scores.npz", paths=np.array(paths), scores=np.eye(5), classes=np.array(["A", "B", "C", "D", "E"])
    )
    found = read_video_classes(tmp_path / "scores.npz")
    assert {name: int(scores.argmax()) for name, scores in found.scores.items()} == {
        "v.1": 2, "v.2": 3, "02": 4, "02.mp4": 4,
    }  # fmt: skip
    assert "2 videos share their names with others, such as x/01.mp4: their class scores are not used" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "[]", "does not hold class scores: expected JSON"),
        ("c.json", '{"class": ["A"], "results": {"a": ["x"]}}', "does not hold class scores"),
        ("c.json", '{"class": ["A"], "results": {"a": [0.5, 0.5]}}', "1 classes, but 2 scores of video a"),
        ("c.json", '{"class": ["A"], "results": {"a": [NaN]}}', "a score of video a is not a finite number"),
        ("c.json", '{"results": {"a": [{"label": "A"}]}}', "score of video a is null, expected a finite number"),
        ("c.json", '{"results": {"a": [{"score": 1}]}}', "a class score of video a has no label"),
        ("c.json", '{"results": {"a": [{"label": "A", "score": 1}, 2]}}', "class scores of video a is the number 2"),
        ("c.json", '{"class": ["B"], "results": {"a": [{"label": "A", "score": 1}]}}', "label 'A' of video a is not"),
        ("c.npz", "no archive", "does not hold class scores"),
    ],
)
def test_faulty_files_of_class_scores_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_video_classes(tmp_path / name)


def test_a_missing_file_of_class_scores_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        read_video_classes(tmp_path / "none.json")


def test_written_results_are_read_as_they_were(tmp_path: Path) -> None:
    truth = truth_of(tmp_path)
    detections = Proposals(segments=TWO.segments, scores=TWO.scores, labels=np.array([1, 0]))
    write_results(tmp_path / "results.json", {"b": detections}, classes=("Run", "Jump"))
    found = read_results(tmp_path / "results.json", truth, labelled=True)
    assert [truth.videos[video] for video in found.video] == ["b", "b"]
    assert [truth.labels[label] for label in found.label] == ["Jump", "Run"]
    np.testing.assert_array_equal(found.segments, TWO.segments)
    np.testing.assert_array_equal(found.scores, TWO.scores)


def test_the_layout_is_activitynets() -> None:
    assert results_layout({"a": TWO}) == {
        "version": "VERSION 1.3",
        "results": {"a": [{"segment": [0.0, 5.0], "score": 0.9}, {"segment": [2.0, 9.0], "score": 0.5}]},
        "external_data": {},
    }
