"""ActionFormer and TriDet trained, tested, resumed, converted and used."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from kinema.api import evaluation_options, run_test, train
from kinema.cli.convert import run as convert
from kinema.errors import UserError
from kinema.models.foreign import foreign_state_dict
from kinema.recipes import config_of
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.description import load_localizer, read_localizer
from kinema.tasks.localization.metrics.detection import THRESHOLDS
from kinema.tasks.localization.metrics.evaluation import evaluate_detection
from kinema.training.saving.record import read_rows
from kinema.weights.find import find_model
from tests.tasks.localization.planted import write_planted

TINY = {
    "data.workers": "0",
    "data.max_length": "64",
    "model.width": "16",
    "schedule.epochs": "2",
    "training.log_every": "1",
    "training.checkpoint_every": "2",
}
RECIPES = {
    "actionformer_64_small_feature": TINY,
    "tridet_64_small_feature": TINY | {"model.head_width": "16", "model.mlp_width": "16"},
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Videos with two classes, one without features."""
    folder = tmp_path_factory.mktemp("planted")
    options = write_planted(folder, videos=16)
    truth = json.loads((folder / "truth.json").read_text())
    for number, entry in enumerate(truth["database"].values()):
        for instance in entry["annotations"]:
            instance["label"] = ("turn", "jump")[number % 2]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "features" / "v_005.npy").unlink()
    return options | {"data.max_bad_fraction": "0.2"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_detector_is_trained_and_tested_as_it_was_validated(
    planted: dict[str, str], recipe: str, tmp_path: Path
) -> None:
    train(config_of(recipe, RECIPES[recipe] | planted), work_dir=tmp_path)
    assert "v_005" in (tmp_path / "bad_files.csv").read_text()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "classification", "regression"} < set(next(row for row in rows if row["split"] == "train"))
    best = max((row for row in rows if "average_mAP" in row), key=lambda row: row["average_mAP"])
    description = read_localizer(find_model(tmp_path))
    assert description.classes == ("jump", "turn")
    assert description.model.num_classes == 2  # type: ignore[attr-defined]
    tested = run_test(tmp_path, evaluation_options(tmp_path), folder=tmp_path / "test")
    assert tested == {name: best[name] for name in tested}
    one_by_one = evaluation_options(tmp_path)
    one_by_one.data.val_batch_size = 1
    assert run_test(tmp_path, one_by_one, folder=tmp_path / "one")["loss"] == pytest.approx(tested["loss"], rel=1e-4)
    results = tmp_path / "test" / "results.json"
    found = json.loads(results.read_text())["results"]
    assert {one["label"] for video in found.values() for one in video} == {"jump", "turn"}
    report = evaluate_detection(
        Path(planted["data.ground_truth"]),
        results,
        protocol="activitynet",
        thresholds=THRESHOLDS["thumos14"],
        subset="validation",
    ).metrics
    assert report["average_mAP"] == pytest.approx(tested["average_mAP"])
    check_proposer(tmp_path, planted, found["v_004"])


def check_proposer(model: Path, planted: dict[str, str], expected: list[dict[str, Any]]) -> None:
    """It answers as the test does."""
    folder = find_model(model)
    description = read_localizer(folder)
    proposer = description.task.load_proposer(folder, description, RuntimeOptions())
    assert proposer.parts is None
    assert proposer.classes == ("jump", "turn")
    features = torch.from_numpy(np.load(Path(planted["data.features"]) / "v_004.npy").T.copy())
    seconds = json.loads(Path(planted["data.ground_truth"]).read_text())["database"]["v_004"]["duration"]
    answer = proposer.propose(features)
    assert answer.labels is not None
    np.testing.assert_allclose(answer.scores, [one["score"] for one in expected], rtol=1e-3)
    segments = (answer.segments * seconds).clip(0, seconds)
    np.testing.assert_allclose(segments, [one["segment"] for one in expected], atol=1e-3 * seconds)
    assert [proposer.classes[label] for label in answer.labels] == [one["label"] for one in expected]


@pytest.mark.slow
def test_segments_of_any_class_get_labels_from_class_scores(planted: dict[str, str], tmp_path: Path) -> None:
    database = json.loads(Path(planted["data.ground_truth"]).read_text())["database"]
    scores = {name: [0.9, 0.1] if number % 2 else [0.2, 0.8] for number, name in enumerate(database)}
    (tmp_path / "scores.json").write_text(json.dumps({"class": ["jump", "turn"], "results": scores}))
    options = RECIPES["actionformer_64_small_feature"] | planted | {"model.num_classes": "1", "data.parts": "48"}
    without = train(config_of("actionformer_64_small_feature", options), work_dir=tmp_path / "without")
    assert {"AUC", "AR@100"} < set(without)
    options |= {"data.class_scores": str(tmp_path / "scores.json"), "data.top_classes": "1"}
    train(config_of("actionformer_64_small_feature", options), work_dir=tmp_path / "run")
    tested = run_test(tmp_path / "run", evaluation_options(tmp_path / "run"), folder=tmp_path / "test")
    assert tested["average_mAP"] >= 0
    found = json.loads((tmp_path / "test" / "results.json").read_text())["results"]
    alone = run_test(tmp_path / "without", evaluation_options(tmp_path / "without"), folder=tmp_path / "alone")
    assert "AUC" in alone
    proposals = json.loads((tmp_path / "alone" / "results.json").read_text())["results"]
    for name, detections in found.items():
        assert {one["label"] for one in detections} <= {"jump" if scores[name][0] > 0.5 else "turn"}
        expected = [math.sqrt(one["score"] * max(scores[name])) for one in proposals[name]]
        assert [one["score"] for one in detections] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.features": ""}, "no features: pass --data.features"),
        ({"model.feature_channels": "32"}, "64 features at each point in time, expected 32"),
        ({"task.assignment.ranges": [4.0, 8.0]}, "--task.assignment.ranges bound 3 levels, but the network has 5"),
        ({"data.parts": "100"}, "--data.parts 100 is more than --data.max-length 64"),
        ({"data.stride": "4"}, "has no 'fps', which --data.stride needs: pass --data.fps"),
        ({"model.windows": [4, 4, 4, 4, 4]}, "a window is odd or 0, not 4"),
    ],
)
def test_faults_are_said_before_training(
    planted: dict[str, str], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(config_of("actionformer_64_small_feature", TINY | planted | changes), work_dir=tmp_path)


@pytest.mark.parametrize(
    ("source", "recipe"),
    [
        pytest.param("actionformer", "actionformer_192_15e_activitynet13_tsp_feature", marks=pytest.mark.slow),
        ("tridet", "tridet_64_small_feature"),
        ("opentad", "actionformer_192_15e_activitynet13_tsp_feature"),
    ],
)
def test_averaged_weights_of_a_tool_are_converted(source: Any, recipe: str, tmp_path: Path) -> None:
    config = config_of(recipe)
    torch.manual_seed(0)
    given = config.model.build()  # type: ignore[union-attr]
    weights = {f"module.{key}": value for key, value in foreign_state_dict(given, source=source).items()}
    noise = {key: torch.randn_like(value) for key, value in weights.items()}
    torch.save({"epoch": 3, "state_dict": noise, "state_dict_ema": weights}, tmp_path / "checkpoint.pth.tar")
    assert convert([str(tmp_path / "checkpoint.pth.tar"), "--from", source, "--output", str(tmp_path / "model")]) == 0
    model, description = load_localizer(tmp_path / "model")
    assert description.recipe == recipe
    assert description.model.zero_padding == (source == "opentad")  # type: ignore[attr-defined]
    for key, value in given.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no weights of a detector"):
        convert([str(tmp_path / "other.pth"), "--from", source, "--output", str(tmp_path / "other")])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_run_ends_with_the_same_bits(planted: dict[str, str], recipe: str, tmp_path: Path) -> None:
    """With the moving average by which losses are divided, which is part of the weights."""
    options = RECIPES[recipe] | planted | {"data.workers": "1", "model.drop_path": "0.2", "model.layer_scale": "0.1"}

    def command(work_dir: Path) -> list[str]:
        given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        return [sys.executable, "-m", "kinema", "train", recipe, "--work-dir", str(work_dir), "--resume", *given]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    run = subprocess.Popen(command(tmp_path / "killed"), stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while run.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    one, other = (load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("whole", "killed"))
    assert "normalizer.average" in one
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_planted_instances_are_detected(recipe: str, tmp_path: Path) -> None:
    places = write_planted(tmp_path / "data", videos=120, labels=("jump", "turn"))
    options = {"data.workers": "0", "schedule.epochs": "10", "schedule.warmup_epochs": "1", **places}
    found = train(config_of(recipe, options), work_dir=tmp_path / "run")
    assert found["average_mAP"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_have_the_losses_of_one(recipe: str, tmp_path: Path) -> None:
    """At the same total batch: each divides its losses by the mean number of positive points of both."""
    options = RECIPES[recipe] | write_planted(tmp_path / "data", videos=32, labels=("jump", "turn"))
    # Adam divides small gradients by themselves: at a high rate, rounding would grow from step to step.
    options |= {"schedule.epochs": "4", "schedule.warmup_epochs": "1", "optim.lr": "1e-4"}
    one, two = {"data.batch_size": "8", "task.loss.positives": "40"}, {"data.batch_size": "4"}
    train(config_of(recipe, options | one), work_dir=tmp_path / "one")
    given = [f"--{key.replace('_', '-')}={value}" for key, value in (options | two).items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "kinema"]
    command += ["train", recipe, "--work-dir", str(tmp_path / "two"), *given]
    subprocess.run(command, check=True, capture_output=True)
    losses = [
        [[row[name] for name in ("loss", "classification", "regression")] for row in read_rows(run, "train")]
        for run in (tmp_path / "one" / "metrics.jsonl", tmp_path / "two" / "metrics.jsonl")
    ]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_streams_side_by_side_train_as_one_file_of_both(recipe: str, tmp_path: Path) -> None:
    """2048 channels of a stream and 256 of another, of which one shows the actions and one their labels."""
    places = write_planted(tmp_path / "data", videos=16, channels=2304, labels=("jump", "turn"))
    streams = [tmp_path / "rgb", tmp_path / "flow"]
    for folder in streams:
        folder.mkdir()
    for file in Path(places["data.features"]).glob("*.npy"):
        joined = np.roll(np.load(file), 2045, axis=1)  # the labels' channels come first in the second stream
        np.save(file, joined)
        for folder, part in zip(streams, (joined[:, :2048], joined[:, 2048:]), strict=True):
            np.save(folder / file.name, part)
    options = RECIPES[recipe] | places | {"model.feature_channels": "2304"}
    apart = {"data.features": [str(folder) for folder in streams]}
    runs = [
        train(config_of(recipe, options | changes), work_dir=tmp_path / name)
        for name, changes in (("joined", {}), ("apart", apart))
    ]
    assert runs[0] == runs[1]
    weights = [load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("joined", "apart")]
    assert weights[0]["backbone.embedding.0.conv.conv.weight"].shape[1] == 2304
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    tested = run_test(tmp_path / "apart", evaluation_options(tmp_path / "apart"), folder=tmp_path / "test")
    validations = read_rows(tmp_path / "apart" / "metrics.jsonl", "val")
    assert tested["average_mAP"] == max(row["average_mAP"] for row in validations)
