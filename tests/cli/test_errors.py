"""A user's fault ends in one message and exit code 2, never in a traceback."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.cli import main
from tests.conftest import tiny_arguments

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


def message(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `kinema ARGUMENTS`, which must end with exit code 2, says."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return captured.err


def train(capsys: pytest.CaptureFixture[str], sample: Path, work_dir: Path, *further: str, **options: str) -> str:
    return message(capsys, "train", RECIPE, "--work-dir", str(work_dir), *tiny_arguments(sample, **options), *further)


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no command is called 'trian'; did you mean 'train'?" in message(capsys, "trian")


def test_unknown_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    said = message(capsys, "train", "tsm_r50_1x1x8_50e_kinetics400")
    assert "did you mean 'tsm_r50_1x1x8_50e_kinetics400_rgb'?" in said


def test_all_faulty_options_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    faulty = ["--optim.lrr=1", "--data.batch-size=many", "--lr=0.1", "--schedule.milestones=3", "--training.seed=-1"]
    said = message(capsys, "train", RECIPE, *faulty)
    assert "5 faults" in said
    for part in ("--optim.lrr", "'--optim.lr'", "--data.batch-size", "many", "StepSchedule", "training.seed"):
        assert part in said


def test_no_training_videos_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data.train" in message(capsys, "train", RECIPE)


def test_label_out_of_range(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    listing = tmp_path / "train.txt"
    listing.write_text("a.mp4 0\nb.mp4 8\n")
    (tmp_path / "a.mp4").touch()
    said = train(capsys, sample, tmp_path / "run", data__train=str(listing))
    assert f"{listing}:2" in said
    assert "0 to 7" in said


def test_line_without_a_label(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    listing = tmp_path / "train.txt"
    listing.write_text("a.mp4 0\nb.mp4\n")
    assert f"{listing}:2" in train(capsys, sample, tmp_path / "run", data__train=str(listing))


def test_empty_dataset(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no class folders" in train(capsys, sample, tmp_path / "run", data__train=str(tmp_path / "empty"))
    (tmp_path / "empty.txt").touch()
    assert "empty" in train(capsys, sample, tmp_path / "run", data__train=str(tmp_path / "empty.txt"))


def test_class_folder_without_videos(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    shutil.copytree(sample / "train", tmp_path / "train")
    (tmp_path / "train" / "standing_still").mkdir()
    said = train(capsys, sample, tmp_path / "run", data__train=str(tmp_path / "train"))
    assert "standing_still" in said
    assert "without video" in said


def test_batch_larger_than_the_dataset(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    said = train(capsys, sample, tmp_path, data__batch_size="33")
    assert "32 training videos" in said
    assert "--data.batch-size 32" in said


def test_all_videos_missing(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    listing = tmp_path / "train.txt"
    listing.write_text("".join(f"{k}.mp4 {k % 8}\n" for k in range(32)))
    said = train(capsys, sample, tmp_path / "run", data__train=str(listing), data__val="")
    assert f"no such file or folder: '{tmp_path}/0.mp4'" in said
    assert "--data.root" in said
    assert said.count(".mp4") == 1


def test_one_class_is_nothing_to_tell_apart(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    shutil.copytree(sample / "train/growing", tmp_path / "train/growing")
    assert "all of one class, growing" in train(capsys, sample, tmp_path / "run", data__train=str(tmp_path / "train"))


def test_a_work_dir_that_cannot_be_made(capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in train(capsys, sample, tmp_path / "file/run")


def test_a_run_is_not_written_over(capsys: pytest.CaptureFixture[str], sample: Path, tiny_run: Path) -> None:
    before = (tiny_run / "metrics.jsonl").read_bytes()
    assert "--resume" in train(capsys, sample, tiny_run)
    assert (tiny_run / "metrics.jsonl").read_bytes() == before


def test_no_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "does not exist" in message(capsys, "test", str(tmp_path / "no run"))
    assert "holds no model.json" in message(capsys, "predict", str(tmp_path), "a.mp4")


def test_damaged_model(capsys: pytest.CaptureFixture[str], tiny_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_run / "checkpoints" / "best", model)
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "model.safetensors cannot be read" in message(capsys, "test", str(model))
    (model / "model.json").write_text("{")
    assert "model.json is damaged" in message(capsys, "test", str(model))


def test_pretrained_weights_out_of_reach(
    capsys: pytest.CaptureFixture[str], sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network, or with an unreachable one, the message says what to do instead."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    said = train(capsys, sample, tmp_path / "run", model__pretrained="imagenet", model__width="64")
    assert "download.pytorch.org" in said
    assert "--model.pretrained none" in said


def test_a_video_that_cannot_be_read_is_named_and_the_others_answered(
    capsys: pytest.CaptureFixture[str], sample: Path, tiny_run: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    good = next(sample.glob("val/*/*.mp4"))
    assert main(["predict", str(tiny_run), str(bad), str(good), "--json"]) == 2
    captured = capsys.readouterr()
    assert str(bad) in captured.err
    assert [answer["video"] for answer in json.loads(captured.out)] == [str(good)]


@pytest.mark.slow
def test_a_full_disk_keeps_the_checkpoint_before(sample: Path, tmp_path: Path) -> None:
    """The kernel refuses to let files grow beyond a limit, as a full disk does; the first checkpoint fits."""
    arguments = [sys.executable, "-m", "kinema", "train", RECIPE, "--work-dir", str(tmp_path), "--resume"]
    first = subprocess.run([*arguments, *tiny_arguments(sample, schedule__epochs="1")], check=True, capture_output=True)
    assert first.returncode == 0
    weights = (tmp_path / "checkpoints/last/model.safetensors").read_bytes()

    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(weights) // 2, len(weights) // 2))

    second = subprocess.run([*arguments, *tiny_arguments(sample)], preexec_fn=full_disk, capture_output=True, text=True)
    assert second.returncode == 2, second.stderr
    assert "could not save the checkpoint of step 16" in second.stderr
    assert "the previous checkpoint is kept in" in second.stderr
    assert "Traceback" not in second.stderr
    assert (tmp_path / "checkpoints/last/model.safetensors").read_bytes() == weights
    assert not list((tmp_path / "checkpoints").glob(".kinema-*"))
