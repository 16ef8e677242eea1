"""Cross-validation: runs of all folds, and their summary."""

import json
import statistics
from pathlib import Path

import pytest

from kinema.api import train
from kinema.cli import main
from tests.conftest import tiny_arguments, tiny_config

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


@pytest.fixture(scope="module")
def folds(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a finished cross-validation."""
    work_dir = tmp_path_factory.mktemp("folds") / "run"
    train(tiny_config(sample, data__val="", data__folds="2", schedule__epochs="1"), work_dir=work_dir)
    return work_dir


def test_every_video_is_tested_once_and_the_summary_has_all_folds(folds: Path) -> None:
    summary = json.loads((folds / "summary.json").read_text())
    per_fold = summary["per_fold"]
    assert [result["fold"] for result in per_fold] == [0, 1]
    assert [result["videos"] for result in per_fold] == [16, 16]
    for fold, result in enumerate(per_fold):
        tested = json.loads((folds / f"fold{fold}/test/metrics.json").read_text())
        assert result == {"fold": fold, **tested}
    values = [result["top1"] for result in per_fold]
    assert summary["metrics"]["top1"] == {
        "mean": pytest.approx(sum(values) / 2),
        "std": pytest.approx(statistics.stdev(values)),
        "min": min(values),
        "max": max(values),
    }
    assert set(summary["metrics"]) == {"loss", "top1", "top5", "mean_class"}


def test_a_fold_is_tested_with_its_last_weights(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best ones are chosen by the videos of the fold."""
    before = json.loads((folds / "fold1/test/metrics.json").read_text())
    model = ["test", str(folds / "fold1/checkpoints/last"), "--work-dir", str(tmp_path), "--json"]
    assert main([*model, "--data.workers", "0"]) == 0
    assert json.loads(capsys.readouterr().out) == before


def test_folds_that_are_done_are_skipped_and_others_continued(
    sample: Path, tmp_path: Path, folds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tiny_arguments(sample, data__val="", data__folds="2", schedule__epochs="1")
    command = ["train", RECIPE, "--work-dir", str(tmp_path / "run"), *options]
    assert main([*command, "--data.fold", "0"]) == 0  # one fold alone, into the folder of that run
    assert json.loads((tmp_path / "run/checkpoints/last/model.json").read_text())["data"]["fold"] == 0
    again = ["train", "--work-dir", str(folds)]
    assert main(again) == 2
    assert main(["train", RECIPE, *again[1:], *options]) == 2
    assert "holds a run already: add --resume" in capsys.readouterr().err
    (folds / "summary.json").unlink()
    stamps = {file: file.stat().st_mtime_ns for file in folds.glob("fold*/**/*") if file.is_file()}
    assert main([*again, "--resume"]) == 0
    assert (folds / "summary.json").exists()
    assert stamps == {file: file.stat().st_mtime_ns for file in folds.glob("fold*/**/*") if file.is_file()}
    assert main(["train", RECIPE, *again[1:], "--resume", *options, "--optim.lr", "0.5"]) == 2
    assert "cannot be resumed with other options" in capsys.readouterr().err


def test_a_part_of_the_training_videos_is_validated_on(sample: Path, tmp_path: Path) -> None:
    config = tiny_config(sample, data__val="", data__val_fraction="0.25", schedule__epochs="1")
    found = train(config, work_dir=tmp_path / "run")
    assert found["videos"] == 8
    assert train(config, work_dir=tmp_path / "run", resume=True) == found
    assert main(["test", str(tmp_path / "run"), "--data.workers", "0"]) == 0
    assert json.loads((tmp_path / "run/test/metrics.json").read_text())["top1"] == found["top1"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"data__folds": "2"}, "pass one of them"),
        ({"data__val_fraction": "0.2"}, "pass one of them"),
        ({"data__val": "", "data__val_fraction": "0.2", "data__folds": "3"}, "pass one of them"),
        ({"data__val": "", "data__folds": "40"}, "has 32 videos, of which a fold needs one each"),
        ({"data__val": "", "data__folds": "2", "data__fold": "2"}, "--data.fold 2: expected 0 to 1"),
        ({"data__val": "", "data__folds": "1"}, "--data.folds"),
        ({"data__val": "", "data__folds": "2", "data__fold_by": "actor"}, "has no columns; pass a CSV"),
    ],
)
def test_what_contradicts_folds_is_refused(
    sample: Path, tmp_path: Path, options: dict[str, str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", RECIPE, "--work-dir", str(tmp_path / "run"), *tiny_arguments(sample, **options)]
    assert main(command) == 2
    assert fault in capsys.readouterr().err
