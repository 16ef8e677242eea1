"""What labels of training and validation videos say before a training."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import kinema
from kinema.api import train
from kinema.data.kinds import LabelMode
from kinema.errors import UserError
from kinema.runtime.processes import Process
from kinema.tasks.recognition.task import RecognitionTask, open_recognition
from tests.conftest import tiny_config

Lists = dict[str, str]


def open_lists(
    folder: Path, train: str, val: str = "", labels: LabelMode = "single", **options: str
) -> RecognitionTask:
    """The task on these lists, `name label` or CSV, whose videos are empty files."""
    places = {}
    for split, text in (("train", train), ("val", val)):
        lines = text.replace(" ", "\n").split("\n") if "," in text else text.split(" | ")
        suffix = ".csv" if "," in text else ".txt"
        (folder / f"{split}{suffix}").write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            (folder / line.replace(",", " ").split(" ")[0]).touch()
        places[f"data__{split}"] = str(folder / f"{split}{suffix}") if text else ""
    config = tiny_config(folder, **(places | {"task__labels": labels, "model__num_classes": "400"} | options))
    return open_recognition(config, Process(device=torch.device("cpu")))


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        ("a 0 | b 1 | c 2", "", ["3 of 400 classes occur", "--model.num-classes 3", "--data.classes"]),
        ("a 1 | b 2 | c 3", "", ["3 of 400 classes occur", "start at 1", "--model.num-classes 4"]),
        ("a 1 | b 2 | c 3", "x 0 | y 2 | z 0", ["start at 1", "2 of 3 validation videos are of classes that no"]),
        ("a 0 | b 1 | c 2", "x 7 | y 2", ["--model.num-classes 8", "1 of 2 validation videos", ": 7"]),
    ],
)
def test_bare_numbers_with_more_classes_than_occur(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, train: str, val: str, said: list[str]
) -> None:
    assert len(open_lists(tmp_path, train, val).classes) == 400
    warnings = "\n".join(record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert all(words in warnings for words in said), warnings


def test_all_classes_occur(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = open_lists(tmp_path, "a 0 | b 1 | c 2", "x 0", model__num_classes="3")
    assert task.classes == ("0", "1", "2")
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_named_classes_without_videos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "classes.json").write_text('{"run": 1, "sit": 0, "walk": 2}')
    task = open_lists(tmp_path, "a run | b walk", "x sit | y run", data__classes=str(tmp_path / "classes.json"))
    assert task.classes == ("sit", "run", "walk")
    assert "1 of 3 classes have no training video: sit" in caplog.text
    assert "1 of 2 validation videos are of classes that no training video has: sit" in caplog.text


def test_validation_classes_without_training_videos_need_class_names(tmp_path: Path) -> None:
    advice = "no training video has another class: pass --data.classes FILE"
    with pytest.raises(UserError, match=f"label 'sit' is not a known class\nexpected one of the 2 .*; {advice}"):
        open_lists(tmp_path, "path,class a,run b,walk", "path,class x,sit y,run")
    for name in ("train/run/a.mp4", "train/walk/b.mp4", "val/run/c.mp4", "val/sit/d.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    folders = {"data__train": str(tmp_path / "train"), "data__val": str(tmp_path / "val")}
    with pytest.raises(UserError, match=f"'sit' is not one of the 2 known classes; {advice}"):
        open_lists(tmp_path, "", "", **folders)


@pytest.mark.parametrize(
    ("train", "val", "options", "said"),
    [
        ("a 1 | b 1", "", {}, "all of one class, 1"),
        ("path,label a,run b,run", "", {}, "all of one class, run"),
        ("a 0 | b 1", "", {"model__num_classes": "1"}, "--model.num-classes 1: expected at least 2"),
        ("a 1 | b 3 | c 2", "", {"model__num_classes": "3"}, "start at 1: .* --model.num-classes 4"),
        ("a 0 | b 7", "", {"model__num_classes": "3"}, "label 7 .*\n.*--model.num-classes 8 .*--data.classes"),
        ("a 0 | b 1", "x 5", {"model__num_classes": "3"}, "val.txt:1: label 5 .*\n.*--model.num-classes 6"),
        ("a 0 | b -1", "", {}, "label -1"),
        ("path,labels a,run;walk b,walk;run", "", {"labels": "multi"}, "all of the same classes, run, walk"),
        ("path,labels a, b,", "", {"labels": "multi"}, "no training video of .* has a label"),
        ("path,labels a,fall b,fall", "", {"labels": "multi"}, "all of the same classes, fall"),
    ],
)
def test_labels_that_cannot_be_learned(
    tmp_path: Path, train: str, val: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        open_lists(tmp_path, train, val, **options)


@pytest.mark.parametrize(
    ("val", "common"), [("./a 0 | x 1", "1 of 2"), ("b 1 | a 0", "2 of 2"), ("{}/b 0 | x 1", "1 of 2"), ("x 0", "")]
)
def test_validation_videos_that_are_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, val: str, common: str
) -> None:
    open_lists(tmp_path, "a 0 | b 1", val.format(tmp_path), model__num_classes="2")
    warning = f"{common} validation videos are training videos too"
    assert (warning in caplog.text) if common else ("training videos too" not in caplog.text)


@pytest.mark.parametrize(
    ("pairs", "resolved"),
    [("0:2", ("0:2",)), ("left:right", ("1:2",)), ("a: b:jump", ("3:0",)), ("left:2", ("1:2",)), ("''", ())],
)
def test_flip_pairs_by_name_or_index(tmp_path: Path, pairs: str, resolved: tuple[str, ...]) -> None:
    listed = "path,label u,jump v,left w,right"
    (tmp_path / "classes").write_text("jump\nleft\nright\na: b\n")
    options = {"data__train_clip__crop__flip_pairs": "" if pairs == "''" else pairs}
    task = open_lists(tmp_path, listed, data__classes=str(tmp_path / "classes"), **options)
    assert task.plan.clips[0].crop.flip_pairs == task.config.data.train_clip.crop.flip_pairs == resolved


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ("1:7", "'7' is not one of the 3 classes, 0 to 2"),
        ("86:87", "'86' is not one of the 3 classes"),
        ("left:rihgt", "'rihgt' is not one of the 3 classes.*did you mean 'right'"),
        ("1:1", "class left is there twice"),
    ],
)
def test_flip_pairs_that_are_no_classes(tmp_path: Path, pairs: str, said: str) -> None:
    with pytest.raises(UserError, match=f"--data.train-clip.crop.flip-pairs {pairs}: {said}"):
        open_lists(tmp_path, "path,label u,jump v,left w,right", data__train_clip__crop__flip_pairs=pairs)


def test_class_names_that_are_numbers_come_before_indices(tmp_path: Path) -> None:
    task = open_lists(tmp_path, "path,class u,0 v,90 w,2", data__train_clip__crop__flip_pairs="90:2")
    assert task.classes == ("0", "2", "90")
    assert task.config.data.train_clip.crop.flip_pairs == ("2:1",)


def test_one_class_is_a_question_of_yes_or_no(sample: Path, tmp_path: Path) -> None:
    """Half of the videos fall; no validation video has a label, which leaves mAP undefined and `best` there."""
    folders = sorted((sample / "train").iterdir())[:2]
    rows = [f"{video},{'fall' * (folder == folders[0])}\n" for folder in folders for video in sorted(folder.iterdir())]
    (tmp_path / "train.csv").write_text("path,labels\n" + "".join(rows))
    (tmp_path / "val.csv").write_text("path,labels\n" + "".join(f"{row.split(',')[0]},\n" for row in rows))
    config = tiny_config(
        sample, data__train=str(tmp_path / "train.csv"), data__val=str(tmp_path / "val.csv"), task__labels="multi"
    )
    metrics = train(config, work_dir=tmp_path / "run")
    assert np.isnan(metrics["mAP"])
    text = (tmp_path / "run/metrics.jsonl").read_text()
    assert '"mAP": null' in text
    assert "NaN" not in text
    assert (tmp_path / "run/checkpoints/best/model.safetensors").exists()
    assert '"best": null' in (tmp_path / "run/checkpoints/last/training.json").read_text()
    (answer,) = kinema.load(tmp_path / "run").predict(rows[0].split(",")[0])
    assert answer.label == "fall"
    assert 0 < answer.score < 1


@pytest.mark.parametrize(
    ("classes", "options", "advice"),
    [
        ("turn_left turn_right stop", {}, "crop.flip-pairs turn_left:turn_right, or"),
        ("Left right", {}, "crop.flip-pairs Left:right, or"),
        ("from-left-to-right from-right-to-left", {}, "flip-pairs from-left-to-right:from-right-to-left, or"),
        ("turn_left turn_right", {"flip": "0"}, ""),
        ("turn_left turn_right", {"flip_pairs": "turn_left:turn_right"}, ""),
        ("turn_left stop bright_right", {}, ""),
    ],
)
def test_classes_that_a_flip_exchanges(
    classes: str, options: dict[str, str], advice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crop = {"flip": "0.5", **options}
    lists = "path,label " + " ".join(f"{k},{name}" for k, name in enumerate(classes.split()))
    with caplog.at_level(logging.WARNING, logger="kinema"):
        open_lists(tmp_path, lists, **{f"data__train_clip__crop__{key}": value for key, value in crop.items()})
    said = [record.getMessage() for record in caplog.records if "clips are flipped" in record.getMessage()]
    assert len(said) == bool(advice)
    assert all(advice in message for message in said)
