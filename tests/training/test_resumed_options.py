"""A resumed run has its own recipe and options; few of them may be changed."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from kinema.api import train
from kinema.cli import main
from kinema.config import read
from kinema.errors import UserError
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule, lr_factor
from tests.conftest import tiny_config


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run of two epochs."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def position(run: Path) -> int:
    return int(json.loads((run / "checkpoints/last/training.json").read_text())["position"]["step"])


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "tensorboard" not in path.parts}


def test_the_work_dir_alone_continues_a_run(run: Path) -> None:
    for copy in ("best.old", "best.new", "last.old", ".best"):  # as a user may keep them
        shutil.copytree(run / "checkpoints" / "best", run / "checkpoints" / copy)
    before = contents(run)
    assert main(["train", "--work-dir", str(run), "--resume"]) == 0
    assert {path: text for path, text in contents(run).items() if path.suffix != ".png"} == {
        path: text for path, text in before.items() if path.suffix != ".png"
    }


def test_options_that_are_not_repeated_are_the_runs(run: Path) -> None:
    """The recipe's own 20 epochs do not replace the run's two, nor its batch size and crops the run's."""
    before = read(run / "config.yaml")
    assert main(["train", "tsm_r18_video_1x1x8_sample_rgb", "--work-dir", str(run), "--resume"]) == 0
    assert read(run / "config.yaml") == before
    assert position(run) == 16


def test_a_run_may_train_for_longer(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--schedule.epochs", "3", "--data.workers", "1", "--training.log-every", "2"]
    assert main(["train", "--work-dir", str(run), "--resume", *options]) == 0
    said = " ".join(capfd.readouterr().err.split())
    assert "resumed with --schedule.epochs 3 (it was 2)" in said
    assert "resumed with --data.workers 1 (it was 0)" in said
    assert "resumed with --training.log-every 2 (it was 1)" in said
    assert position(run) == 24
    assert read(run / "config.yaml")[1]["schedule.epochs"] == "3"


def test_a_run_is_not_cut_shorter_than_it_is(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    assert main(["train", "--work-dir", str(run), "--resume", "--schedule.epochs", "1"]) == 2
    assert "pass --schedule.epochs of at least that, not 1" in " ".join(capfd.readouterr().err.split())
    assert contents(run) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tsn_r18_video_1x1x8_sample_rgb"], "holds a run of the recipe tsm_r18_video_1x1x8_sample_rgb, not tsn_r18"),
        (["--optim.lr", "0.1"], "--optim.lr 0.1 (the run has 0.001)"),
        (["--data.batch-size", "2", "--model.width", "16"], "--data.batch-size 2 (the run has 4)"),
        (["--training.seed", "1"], "--training.seed 1 (the run has 0)"),
    ],
)
def test_anything_else_is_refused(
    options: list[str], message: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert main(["train", *options, "--work-dir", str(run), "--resume"]) == 2
    assert message in " ".join(capfd.readouterr().err.split())
    assert contents(run) == before


def test_python_is_held_to_the_same(run: Path, sample: Path) -> None:
    with pytest.raises(UserError, match=r"--task.label-smoothing 0.2 \(the run has 0.0\)"):
        train(tiny_config(sample, task__label_smoothing="0.2"), work_dir=run, resume=True)


def test_fewer_videos_are_refused(sample: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(sample / "train", tmp_path / "train")
    config = tiny_config(sample, data__train=str(videos), schedule__epochs="1")
    train(config, work_dir=tmp_path / "run")
    for folder in videos.iterdir():
        next(folder.iterdir()).unlink()
    with pytest.raises(UserError, match="trained in 8 steps an epoch, this would be 6"):
        train(config, work_dir=tmp_path / "run", resume=True)


def test_automatic_choices_are_no_change(run: Path) -> None:
    options = ["--runtime.precision", "auto", "--runtime.channels-last", "auto"]
    assert main(["train", "--work-dir", str(run), "--resume", *options]) == 0
    assert read(run / "config.yaml")[1]["runtime.precision"] == "fp32"


def test_without_recipe_or_run_the_message_says_what_to_pass(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "--work-dir", str(tmp_path / "none")]) == 2
    assert "pass a RECIPE" in capfd.readouterr().err


def test_a_work_dir_below_a_file_is_one_message(
    sample: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    data = ["--data.train", str(sample / "train")]
    work_dir = str(tmp_path / "file" / "run")
    assert main(["train", "tsm_r18_video_1x1x8_sample_rgb", *data, "--work-dir", work_dir]) == 2
    assert f"--work-dir {work_dir} cannot be created: Not a directory" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_warm_up_as_long_as_the_training_takes_a_tenth_of_it(epochs: int) -> None:
    for schedule in (
        CosineSchedule(epochs=epochs, warmup_epochs=5, warmup_start=0.2),
        StepSchedule(epochs=epochs, warmup_epochs=5, warmup_start=0.2, milestones=(40,)),
    ):
        assert schedule.warmup == pytest.approx(epochs / 10)
        assert lr_factor(schedule, epochs / 10) > 0.95
        assert lr_factor(schedule, 0) < 0.25


def test_a_shortened_warm_up_is_said(sample: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(tiny_config(sample, schedule__epochs="1", schedule__warmup_epochs="2"), work_dir=tmp_path)
    assert "--schedule.warmup-epochs 2 is shortened to 0.1: the training has 1 epochs" in caplog.text
