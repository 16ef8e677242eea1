"""Choice of the best model, and early stopping: exact under resume, the same in every process."""

import json
import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from kinema.api import train
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.training.saving.record import read_rows
from tests.conftest import tiny_arguments, tiny_config
from tests.tasks.localization.planted import write_planted
from tests.training.test_resume import ENVIRONMENT, RECIPE, command, rows, start

# Nothing is learned at this rate: the first validation stays the best.
FROZEN = {"optim__lr": "1e-30", "optim__weight_decay": "0", "task__best_by": "mean_class", "schedule__epochs": "9"}
OPTIONS = FROZEN | {"training__patience": "2", "model__norm_eval": "true"}


@pytest.fixture(scope="module")
def stopped(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("stopped")
    train(tiny_config(sample, **OPTIONS), work_dir=work_dir)
    return work_dir


def test_a_run_stops_after_validations_without_improvement(
    stopped: Path, sample: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    validations = read_rows(stopped / "metrics.jsonl", "val")
    assert [row["epoch"] for row in validations] == [1, 2, 3]
    assert read_rows(stopped / "metrics.jsonl", "train")[-1]["epoch"] == 3
    position = json.loads((stopped / "checkpoints/last/training.json").read_text())["position"]
    assert position["since_best"] == 2
    # Resumed, it is done; with more patience it goes on.
    copy = shutil.copytree(stopped, tmp_path / "copy")
    with caplog.at_level(logging.INFO):
        assert train(tiny_config(sample, **OPTIONS), work_dir=copy, resume=True)["videos"] == 16
    assert (copy / "metrics.jsonl").read_text() == (stopped / "metrics.jsonl").read_text()
    last = caplog.messages[-1]
    best = f"{validations[0]['mean_class']:.4f} of epoch 1"
    assert (
        f"stopped early after epoch 3 of 9, as the best mean_class, {best}, was not surpassed in 2 validations" in last
    )
    train(tiny_config(sample, **OPTIONS | {"training__patience": "3"}), work_dir=copy, resume=True)
    assert [row["epoch"] for row in read_rows(copy / "metrics.jsonl", "val")] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_before_it_stops_early_stops_at_the_same_step(
    sample: Path, processes: int, tmp_path: Path
) -> None:
    def run(work_dir: Path) -> list[str]:
        words = command(sample, work_dir, "2 processes" if processes == 2 else "plain")
        launcher = words[: words.index("kinema") + 1]
        options = tiny_arguments(sample, **OPTIONS, data__batch_size="2", training__checkpoint_every="3")
        return [*launcher, "train", RECIPE, "--work-dir", str(work_dir), "--resume", *options]

    done = subprocess.run(run(tmp_path / "whole"), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "stopped early after epoch 3 of 9" in done.stderr
    killed = start(run(tmp_path / "killed"))
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count('"val"') == 2):
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    done = subprocess.run(run(tmp_path / "killed"), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    one, other = (tmp_path / name / "checkpoints/last/model.safetensors" for name in ("killed", "whole"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("best_by", ["loss", pytest.param("mean_class", marks=pytest.mark.slow)])
def test_the_best_model_is_that_of_the_best_metric(sample: Path, best_by: str, tmp_path: Path) -> None:
    train(tiny_config(sample, task__best_by=best_by, schedule__epochs="3", optim__lr="0.2"), work_dir=tmp_path)
    values = [row[best_by] for row in read_rows(tmp_path / "metrics.jsonl", "val")]
    position = json.loads((tmp_path / "checkpoints/last/training.json").read_text())["position"]
    best = min(values) if best_by == "loss" else max(values)
    assert position["best"] == (-best if best_by == "loss" else best)
    assert position["best_step"] == 8 * (values.index(best) + 1)


@pytest.mark.parametrize(
    ("recipe", "best_by", "allowed"),
    [
        (
            "bmn_64x50_small_feature",
            "AR@200",
            "expected auto, AUC, AR@1, AR@5, AR@10, AR@100, loss; did you mean",
        ),
        ("actionformer_64_small_feature", "mAP@0.55", "average_mAP, mAP@0.3, mAP@0.4, mAP@0.5"),
    ],
)
def test_localizers_say_by_what_they_are_measured(recipe: str, best_by: str, allowed: str, tmp_path: Path) -> None:
    planted = write_planted(tmp_path / "planted", videos=8)
    with pytest.raises(UserError, match=r"--task\.best-by") as found:
        train(config_of(recipe, planted | {"task.best_by": best_by, "data.workers": "0"}), work_dir=tmp_path / "run")
    assert allowed in str(found.value)


def test_the_log_has_a_row_for_each_epoch_and_the_best_score(
    sample: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(tiny_config(sample), work_dir=tmp_path)
    rows = [message for message in caplog.messages if message.startswith("epoch ")]
    validations, steps = (read_rows(tmp_path / "metrics.jsonl", split) for split in ("val", "train"))
    for row, validation in zip(rows, validations, strict=True):
        trained = [step for step in steps if step["epoch"] <= validation["epoch"]][-1]
        assert row.startswith(
            f"epoch {validation['epoch']}/2  train loss {trained['loss']:.4f}, lr {trained['lr']:.2e}, "
        )
        assert f"val loss {validation['loss']:.4f}, top-1 {validation['top1']:.4f}" in row
    scores = [validation["top1"] for validation in validations]
    assert [row.endswith("  best") for row in rows] == [True, scores[1] > scores[0]]
    best = scores.index(max(scores))
    assert caplog.messages[-1] == f"done, best top1 {scores[best]:.4f} of epoch {best + 1}: everything is in {tmp_path}"
