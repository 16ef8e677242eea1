"""Temperature scaling against SciPy's minimization, and its effect on a model in use."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

import kinema
from kinema.api import calibrate as calibrate_model
from kinema.api import evaluation_options
from kinema.cli import main
from kinema.data.kinds import LabelMode
from kinema.errors import UserError
from kinema.prediction import Prediction, at_least
from kinema.tasks.recognition.evaluation.calibration import COLDEST, calibrate, calibration_error
from kinema.tasks.recognition.options import RecognitionOptions
from kinema.tasks.recognition.scoring import video_losses, video_scores
from tests.conftest import tiny_config

KINDS: list[tuple[LabelMode, Any]] = [("single", "score"), ("single", "prob"), ("multi", "prob"), ("multi", "max")]


def overconfident(kind: LabelMode, factor: float, *, views: int = 3) -> tuple[Tensor, Tensor]:
    """Logits of videos, `factor` times as large as those by which their labels are drawn."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn((2000, 1, 4), generator=generator)
    if kind == "single":
        labels = torch.multinomial(logits[:, 0].softmax(1), 1, generator=generator)[:, 0]
    else:
        shown = torch.rand((2000, 4), generator=generator) < logits[:, 0].sigmoid()
        labels = torch.where(shown, torch.arange(4), -1)
    return factor * logits.expand(-1, views, -1), labels


@pytest.mark.parametrize(("labels", "average"), KINDS)
@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_temperature_is_the_one_that_scipy_finds(labels: LabelMode, average: Any, factor: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    logits, truth = overconfident(labels, factor)
    # Views that differ: the mean of their probabilities is no softmax of any logits.
    logits = logits + 0.5 * factor * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    options = RecognitionOptions(labels=labels, average=average)

    def nll(log_temperature: float) -> float:
        scaled = logits.double() / np.exp(log_temperature)
        if average == "score":
            scaled = scaled.mean(1, keepdim=True)
        if labels == "single":
            scores = scaled.softmax(-1).mean(1)
            return float(-scores.gather(1, truth[:, None]).log().mean())
        present, absent = scaled.sigmoid(), (-scaled).sigmoid()
        if average == "max":
            present, absent = present.amax(1), absent.amin(1)
        else:
            present, absent = present.mean(1), absent.mean(1)
        return float(-torch.where(truth >= 0, present, absent).log().mean())

    best = optimize.minimize_scalar(nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-7})
    found = calibrate(logits, truth, options)
    assert found["temperature"] == pytest.approx(float(np.exp(best.x)), rel=2e-3)  # the minimum is flat
    assert found["nll_before"] == pytest.approx(nll(0.0), rel=1e-5)
    assert found["nll_after"] == pytest.approx(best.fun, rel=1e-6)


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_what_was_drawn_by_probabilities_is_recovered(labels: LabelMode) -> None:
    found = calibrate(*overconfident(labels, 2.5), RecognitionOptions(labels=labels))
    assert found["temperature"] == pytest.approx(2.5, rel=0.1)
    assert found["ece_after"] < 0.5 * found["ece_before"]


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_the_calibration_error_is_that_of_torchmetrics(labels: LabelMode) -> None:
    logits, truth = overconfident(labels, 3.0, views=1)
    if labels == "single":
        scores = logits[:, 0].softmax(1)
        expected = multiclass_calibration_error(scores, truth, num_classes=4, n_bins=15)
    else:
        scores = logits[:, 0].sigmoid()
        expected = binary_calibration_error(scores.flatten(), (truth >= 0).long().flatten(), n_bins=15)
    assert calibration_error(scores, truth) == pytest.approx(expected.item(), abs=1e-5)


def test_answers_that_are_all_right_have_no_temperature(caplog: pytest.LogCaptureFixture) -> None:
    logits = torch.eye(3)[:, None]
    assert calibrate(logits, torch.arange(3), RecognitionOptions())["temperature"] == COLDEST
    assert "too few" in caplog.text


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_a_calibrated_model_answers_with_its_temperature(
    run: Path, sample: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    video = next((sample / "val").rglob("*.mp4"))
    before = kinema.load(run).predict(video)
    assert main(["calibrate", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "temperature", "nll_before", "nll_after", "ece_before", "ece_after", "videos", "bad_files"
    }  # fmt: skip
    assert found["videos"] == 16
    assert found["nll_after"] <= found["nll_before"]
    stored = json.loads((run / "checkpoints" / "best" / "model.json").read_text())["task"]["temperature"]
    assert stored == found["temperature"] != 1

    after = kinema.load(run).predict(video)
    assert [one.label for one in after] == [one.label for one in before]
    assert [one.score for one in after] != pytest.approx([one.score for one in before])

    assert main(["test", str(run), "--work-dir", str(tmp_path / "test"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(found["nll_after"], rel=1e-4)
    plain = ["test", str(run), "--work-dir", str(tmp_path / "plain"), "--json", "--task.temperature", "1"]
    assert main(plain) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(found["nll_before"], rel=1e-4)
    assert main(["calibrate", str(run)]) == 0  # again: the same, from temperature 1
    assert f"{found['temperature']:.4f}" in capsys.readouterr().out


def test_localizers_and_published_weights_are_not_calibrated(run: Path) -> None:
    with pytest.raises(UserError, match="published weights are kept as they are"):
        calibrate_model("zoo:anything", evaluation_options(run))


def test_scores_below_the_least_are_left_out() -> None:
    best = [Prediction("a", 0.5), Prediction("b", 0.3), Prediction("c", 0.2)]
    assert at_least(best, 0.0) == best
    assert at_least(best, 0.3) == best[:2]
    (none,) = at_least(best, 0.6)
    assert (none.text, none.score, none.as_json()) == ("none of these", 0.5, {"label": None, "score": 0.5})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predict_answers_none_of_these(
    tiny_run: Path, sample: Path, suffix: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    videos = sorted(str(path) for path in (sample / "val").rglob("*.mp4"))[:6]
    model = kinema.load(tiny_run)
    scores = {video: [one.score for one in model.predict(video, top=2)] for video in videos}
    least = sorted(best for best, _ in scores.values())[3]  # half of the videos have a lower one
    output = tmp_path / f"answers{suffix}"
    command = ["predict", str(tiny_run), *videos, "--top", "2", "--min-score", str(least), "--output", str(output)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    none = [video for video in videos if scores[video][0] < least]
    assert len(none) == printed.count("none of these") == 3
    assert main([*command, "--json"]) == 0  # from the file
    rows = {row["video"]: row["predictions"] for row in json.loads(capsys.readouterr().out)}
    for video in videos:
        assert (rows[video][0]["label"] is None) == (video in none)
        assert len(rows[video]) == max(1, sum(score >= least for score in scores[video]))
        assert rows[video][0]["score"] == pytest.approx(scores[video][0])
    if suffix == ".csv":
        lines = {line["video"]: line for line in csv.DictReader(output.open())}
        assert all(lines[video]["label_1"] == "" and lines[video]["score_1"] for video in none)
    assert main([*command[:-4], "--output", str(output)]) == 2  # another least score
    assert "another model" in capsys.readouterr().err


def test_training_is_not_scaled(sample: Path) -> None:
    assert tiny_config(sample).task.temperature == 1
    logits, labels = overconfident("single", 1.0)
    half = RecognitionOptions(temperature=2.0)
    torch.testing.assert_close(video_scores(logits, half), video_scores(logits / 2, RecognitionOptions()))
    torch.testing.assert_close(
        video_losses(logits, labels, half), video_losses(logits / 2, labels, RecognitionOptions())
    )
