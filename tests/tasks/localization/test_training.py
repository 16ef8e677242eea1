"""Localizers trained, tested, stopped and resumed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from kinema.api import evaluation_options, run_test, train
from kinema.data.features.source import FeatureSource
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.runtime.device import RuntimeOptions
from kinema.storage import Direct
from kinema.tasks.localization.bsn.candidates import generate_candidates
from kinema.tasks.localization.bsn.options import CandidateOptions, GenerationOptions
from kinema.tasks.localization.bsn.tem import tem_labels, tem_loss
from kinema.tasks.localization.data.features import open_source
from kinema.tasks.localization.data.videos import read_truth, with_features
from kinema.tasks.localization.description import load_localizer
from kinema.tasks.localization.metrics.evaluation import evaluate_proposals
from kinema.tasks.localization.metrics.results import Proposals, in_seconds, write_results
from kinema.training.saving.record import read_rows
from kinema.weights.find import find_model
from tests.tasks.localization.planted import write_planted

TINY = {"data.workers": "0", "data.batch_size": "4"}
BMN = {
    **TINY,
    "model.hidden_1d": "16",
    "model.hidden_2d": "8",
    "model.hidden_3d": "16",
    "model.samples": "4",
    "schedule.epochs": "2",
    "schedule.milestones": "1",
    "training.log_every": "1",
    "training.checkpoint_every": "2",
}
BSN = TINY | {
    f"{stage}.schedule.{key}": value
    for stage in ("tem", "pem")
    for key, value in {"epochs": "2", "milestones": "1"}.items()
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_planted(tmp_path_factory.mktemp("planted"), videos=24)


def test_bmn_is_trained_and_tested_as_it_was_validated(planted: dict[str, str], tmp_path: Path) -> None:
    found = train(config_of("bmn_64x50_small_feature", BMN | planted), work_dir=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    training = next(row for row in rows if row["split"] == "train")
    assert {"step", "epoch", "loss", "lr", "step_time", "data_time", "memory_gib"} < set(training)
    parts = training["boundary"] + 10 * training["regression"] + training["classification"]
    assert training["loss"] == pytest.approx(parts, rel=1e-5)
    best = max((row for row in rows if "AUC" in row), key=lambda row: row["AUC"])
    tested = run_test(tmp_path, evaluation_options(tmp_path), folder=tmp_path / "test")
    assert set(tested) == set(found) == {"loss", "AR@1", "AR@5", "AR@10", "AR@100", "AUC", "videos", "bad_files"}
    assert tested == {name: best[name] for name in tested}
    measured = evaluate_proposals(
        Path(planted["data.ground_truth"]), tmp_path / "test" / "results.json", subset="validation"
    )
    assert measured == pytest.approx({name: tested[name] for name in measured})


def check_validation_loss_of_tem(run: Path, planted: dict[str, str]) -> None:
    """It is the loss of all validation videos, which make a single batch."""
    model, described = load_localizer(find_model(run / "checkpoints" / "last"))
    truth = read_truth(planted["data.ground_truth"], "validation")
    source = open_source(described.data, channels=described.model.feature_channels)
    features = torch.stack([source.read(name) for name in truth.videos])
    assert len(features) <= described.data.val_batch_size
    labels = tem_labels(with_features("", truth, source).instances, parts=described.data.parts)
    with torch.inference_mode():
        expected = tem_loss(model(features), labels, described.task.loss).total.item()
    assert read_rows(run / "metrics.jsonl", "val")[-1]["loss"] == pytest.approx(expected, rel=1e-4)


def test_bsn_runs_its_stages_and_keeps_what_is_done(planted: dict[str, str], tmp_path: Path) -> None:
    config = config_of("bsn_64x50_small_feature", BSN | planted)
    train(config, work_dir=tmp_path)
    check_validation_loss_of_tem(tmp_path / "tem", planted)
    candidates = sorted((tmp_path / "candidates").glob("*.npz"))
    assert len(candidates) == 24
    written = {path: path.stat().st_mtime_ns for path in candidates}
    lost = candidates[0]
    whole = dict(np.load(lost))
    lost.unlink()
    train(config, work_dir=tmp_path, resume=True)
    assert all(path.stat().st_mtime_ns == written[path] for path in candidates[1:])
    again = dict(np.load(lost))
    assert all(np.array_equal(again[name], whole[name]) for name in whole)
    with pytest.raises(UserError, match="holds a run already: add --resume"):
        train(config, work_dir=tmp_path)
    other = CandidateOptions(generation=GenerationOptions(peak_threshold=0.9))
    with pytest.raises(UserError, match="of another TEM or other options"):
        generate_candidates(tmp_path / "tem", tmp_path / "candidates", other, RuntimeOptions())


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(planted: dict[str, str], tmp_path: Path) -> None:
    def command(work_dir: Path) -> list[str]:
        options = [
            f"--{key.replace('_', '-')}={value}" for key, value in (BMN | planted | {"data.workers": "1"}).items()
        ]
        return [
            sys.executable,
            "-m",
            "kinema",
            "train",
            "bmn_64x50_small_feature",
            "--work-dir",
            str(work_dir),
            "--resume",
            *options,
        ]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    run = subprocess.Popen(command(tmp_path / "killed"), stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while run.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    one, other = (load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("whole", "killed"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.features": ""}, "no features: pass --data.features"),
        ({"data.ground_truth": ""}, "no videos: pass --data.ground-truth"),
        ({"model.feature_channels": "32"}, "64 features at each point in time, expected 32"),
        ({"data.parts": "40"}, "--model.parts 50 and --data.parts 40"),
        ({"data.train_subset": "trainng"}, "has no subset 'trainng'; did you mean 'training'"),
        ({"training.precise_bn": "2"}, "is for recognizers"),
        ({"optim.layer_decay": "0.5"}, "--optim.layer-decay needs a model with layer groups"),
    ],
)
def test_faults_are_said_before_training(
    planted: dict[str, str], changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(config_of("bmn_64x50_small_feature", BMN | planted | changes), work_dir=tmp_path / "run")


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "kinema"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["bmn_64x50_small_feature", "bsn_64x50_small_feature"])
def test_two_processes_test_a_localizer_as_one_does(planted: dict[str, str], recipe: str, tmp_path: Path) -> None:
    train(config_of(recipe, (BSN if recipe.startswith("bsn") else BMN) | planted), work_dir=tmp_path / "run")
    done = torchrun("test", str(tmp_path / "run"), "--work-dir", str(tmp_path / "two"), "--json")
    assert done.returncode == 0, done.stderr
    one = run_test(tmp_path / "run", evaluation_options(tmp_path / "run"), folder=tmp_path / "one")
    two = json.loads(done.stdout)
    # The loss balances positive and negative points of a batch, and processes have other batches.
    assert two.pop("loss") == pytest.approx(one.pop("loss"), rel=0.02)
    assert two == pytest.approx(one, abs=1e-4)
    results = [json.loads((tmp_path / name / "results.json").read_text())["results"] for name in ("one", "two")]
    assert results[0].keys() == results[1].keys()
    for video, proposals in results[0].items():
        scores, others = ([one["score"] for one in found] for found in (proposals, results[1][video]))
        assert scores == pytest.approx(others, abs=1e-4)  # rounding depends on what else is in a batch


@pytest.mark.slow
def test_a_fault_of_all_processes_is_printed_once(planted: dict[str, str], tmp_path: Path) -> None:
    options = [f"--{key.replace('_', '-')}={value}" for key, value in (BMN | planted | {"data.parts": "40"}).items()]
    done = torchrun("train", "bmn_64x50_small_feature", "--work-dir", str(tmp_path), *options)
    assert done.returncode != 0
    assert done.stderr.count("--model.parts 50 and --data.parts 40") == 1, done.stderr


def test_a_video_without_features_is_a_bad_one(tmp_path: Path) -> None:
    places = write_planted(tmp_path / "data", videos=24)
    (tmp_path / "data" / "features" / "v_005.npy").unlink()
    config = config_of("bmn_64x50_small_feature", BMN | places | {"schedule.epochs": "1", "schedule.milestones": "1"})
    train(config, work_dir=tmp_path / "run")
    assert "v_005" in (tmp_path / "run" / "bad_files.csv").read_text()


def in_files_of_mmaction2(places: dict[str, str], folder: Path) -> dict[str, str]:
    """The same ground truth as anet_anno_train.json and anet_anno_val.json."""
    database = json.loads(Path(places["data.ground_truth"]).read_text())["database"]
    files = {}
    for subset, option in (("training", "data.ground_truth"), ("validation", "data.val_ground_truth")):
        entries = {
            name: {"duration_second": entry["duration"], "annotations": entry["annotations"]}
            for name, entry in database.items()
            if entry["subset"] == subset
        }
        files[option] = str(folder / f"anet_anno_{subset}.json")
        Path(files[option]).write_text(json.dumps(entries))
    return places | files


@pytest.mark.parametrize("recipe", ["bmn_64x50_small_feature", "bsn_64x50_small_feature"])
def test_files_of_mmaction2_give_the_same_run(planted: dict[str, str], tmp_path: Path, recipe: str) -> None:
    options = BSN if recipe.startswith("bsn") else {**BMN, "schedule.epochs": "1", "schedule.milestones": "1"}
    other = in_files_of_mmaction2(planted, tmp_path)
    runs = [
        train(config_of(recipe, options | places), work_dir=tmp_path / str(k))
        for k, places in enumerate((planted, other))
    ]
    assert runs[0] == runs[1]
    model = tmp_path / "1" / ("pem" if recipe.startswith("bsn") else "")
    tested = run_test(model, evaluation_options(model), folder=tmp_path / "test")
    assert tested["AUC"] == pytest.approx(runs[1]["AUC"], rel=0.5)
    assert tested["videos"] == runs[1]["videos"]
    with pytest.raises(UserError, match=r"that of the validation videos to --data\.val-ground-truth"):
        train(config_of(recipe, options | other | {"data.val_ground_truth": ""}), work_dir=tmp_path / "none")


@pytest.mark.slow
def test_times_are_those_of_the_features(planted: dict[str, str], tmp_path: Path) -> None:
    """The same training, with all times moved and features said to start as much later: the same proposals, moved."""
    database = json.loads(Path(planted["data.ground_truth"]).read_text())["database"]
    features = tmp_path / "features"
    features.mkdir()
    for name, entry in database.items():
        (features / f"{name}.npy").symlink_to(Path(planted["data.features"]) / f"{name}.npy")
        description = {"frames": 1000, "fps": 1000 / entry["duration"], "rows": 50, "stride": 20, "start": 7}
        (features / f"{name}.json").write_text(json.dumps(description))
        entry["duration"] += 7
        entry["annotations"] = [
            {**one, "segment": [second + 7 for second in one["segment"]]} for one in entry["annotations"]
        ]
    (tmp_path / "truth.json").write_text(json.dumps({"database": database}))
    moved = {"data.ground_truth": str(tmp_path / "truth.json"), "data.features": str(features)}
    for recipe, options, stage in (("bmn", BMN, ""), ("bsn", BSN, "pem")):
        found = []
        for name, places in (("here", planted), ("moved", moved)):
            work_dir = tmp_path / recipe / name
            train(config_of(f"{recipe}_64x50_small_feature", options | places), work_dir=work_dir)
            run_test(work_dir / stage, evaluation_options(work_dir / stage), folder=work_dir / "test")
            found.append(json.loads((work_dir / "test" / "results.json").read_text())["results"])
        assert found[0].keys() == found[1].keys()
        for video, here in found[0].items():
            segments, others = (np.array([each["segment"] for each in one]) for one in (here, found[1][video]))
            np.testing.assert_allclose(segments + 7, others, atol=1e-4)


def test_all_instances_are_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those beyond the features count as missed, which is said."""
    places = write_planted(tmp_path / "data", videos=24)
    options = BMN | places | {"schedule.epochs": "1", "schedule.milestones": "1"}
    whole = train(config_of("bmn_64x50_small_feature", options), work_dir=tmp_path / "run")
    path = Path(places["data.ground_truth"])
    truth = json.loads(path.read_text())
    counts = []
    for entry in truth["database"].values():
        if entry["subset"] == "validation":
            counts.append(len(entry["annotations"]))
            entry["annotations"].append({"label": "turn", "segment": [entry["duration"] + 1, entry["duration"] + 2]})
    path.write_text(json.dumps(truth))
    tested = run_test(tmp_path / "run", evaluation_options(tmp_path / "run"), folder=tmp_path / "test")
    assert tested["AR@100"] == pytest.approx(whole["AR@100"] * sum(counts) / (sum(counts) + len(counts)))
    assert f"{len(counts)} of {sum(counts) + len(counts)} instances have no length, or lie outside" in caplog.text


def attainable(places: dict[str, str], folder: Path, parts: int) -> float:
    """The AUC of a localizer that knows the ground truth, in whole parts of a video: the best cell of each instance."""
    truth = places["data.ground_truth"]
    source = FeatureSource(places["data.features"], storage=Direct(), parts=parts, channels=64)
    videos = with_features(truth, read_truth(truth, "validation"), source)
    grid = np.array([(a, b) for a in range(parts) for b in range(a + 1, parts + 1)]) / parts
    found = {}
    for row, instances in enumerate(videos.instances):
        best = []
        for start, end in instances:
            shared = (np.minimum(grid[:, 1], end) - np.maximum(grid[:, 0], start)).clip(0)
            best.append(grid[np.argmax(shared / (grid[:, 1] - grid[:, 0] + end - start - shared))])
        if best:
            found[videos.name(row)] = in_seconds(
                Proposals(segments=np.array(best), scores=np.ones(len(best))), videos.spans[row]
            )
    write_results(folder / "attainable.json", found)
    return evaluate_proposals(Path(places["data.ground_truth"]), folder / "attainable.json", subset="validation")["AUC"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["bmn_64x50_small_feature", "bsn_64x50_small_feature"])
def test_planted_boundaries_are_found(recipe: str, tmp_path: Path) -> None:
    places = write_planted(tmp_path / "data", videos=200)
    found = train(config_of(recipe, {"data.workers": "0", **places}), work_dir=tmp_path / "run")
    assert found["AUC"] >= 0.95 * attainable(places, tmp_path, 50)
