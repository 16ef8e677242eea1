"""Long videos in windows: every point is looked at once, and detections are those of the whole video."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.api import evaluation_options, run_test, train
from kinema.config import apply
from kinema.data.features.spans import whole_video
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.data.windows import WindowLength
from kinema.tasks.localization.description import read_localizer
from kinema.tasks.localization.detectors.windows import detector_windows
from kinema.weights.find import find_model
from tests.tasks.localization.planted import write_planted

RECIPES = {
    "actionformer_64_small_feature": {"model.width": "16", "model.windows": [5, 5, 5], "data.multiple": "4"},
    "tridet_64_small_feature": {
        "model.width": "16", "model.head_width": "16", "model.mlp_width": "16", "model.levels": "3",
        "data.multiple": "4",
    },
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "data.workers": "0",
    "data.max_length": "64",
    "data.val_batch_size": "1",  # else what is padded depends on the batch
    "task.assignment.ranges": [4.0, 8.0],
    "task.decoding.most": "20000",
    "schedule.epochs": "2",
    "schedule.warmup_epochs": "1",
}


@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=3),
    rows=st.integers(16, 200),
    overlap=st.floats(0, 0.95),
)
def test_each_point_is_looked_at_once_where_most_is_seen_around_it(
    lengths: list[int], rows: int, overlap: float
) -> None:
    windows = detector_windows(lengths, [rows] * len(lengths), WindowLength(points=rows, overlap=overlap), stride=8)
    for video, length in enumerate(lengths):
        mine = windows.video == video
        bounds, owned = windows.bounds[mine], windows.owned[mine]
        assert (bounds[:, 0] % 8 == 0).all()
        assert (np.diff(bounds)[:-1] == rows).all()
        assert bounds[-1, 1] == length
        looked = np.concatenate([np.arange(*each) for each in owned])
        np.testing.assert_array_equal(looked, np.arange(length))
        assert (owned[:, 0] >= bounds[:, 0]).all()
        assert (owned[:, 1] <= bounds[:, 1]).all()
        for position in range(length):
            seen = [
                min(
                    position - first if first else length,
                    end - 1 - position if end < length else length,
                )
                for first, end in bounds
                if first <= position < end
            ]
            (owner,) = np.flatnonzero((owned[:, 0] <= position) & (position < owned[:, 1]))
            first, end = bounds[owner]
            own = min(position - first if first else length, end - 1 - position if end < length else length)
            assert own >= max(seen) - 1  # between two equals either
        np.testing.assert_allclose(windows.parts[mine] * length, bounds)


def write_long(folder: Path) -> dict[str, str]:
    """Planted videos, of which those for validation are joined to two of 400 features, at one rate."""
    places = write_planted(folder / "short", videos=64)
    truth = json.loads(Path(places["data.ground_truth"]).read_text())["database"]
    (folder / "features").mkdir()
    joined: dict[str, Any] = {}
    for number, (name, entry) in enumerate(truth.items()):
        features = np.load(folder / "short" / "features" / f"{name}.npy")
        scale = 50 / entry["duration"]  # a feature a second
        segments = [[time * scale for time in each["segment"]] for each in entry["annotations"]]
        if entry["subset"] == "training":
            own = name
        else:
            own = f"long_{number // 32}"
        into = joined.setdefault(own, {"features": [], "segments": [], "subset": entry["subset"]})
        begin = 50 * len(into["features"])
        into["segments"] += [[begin + time for time in segment] for segment in segments]
        into["features"].append(features)
    database = {}
    for name, each in joined.items():
        np.save(folder / "features" / f"{name}.npy", np.concatenate(each["features"]))
        annotations = [{"label": "turn", "segment": segment} for segment in each["segments"]]
        duration = 50.0 * len(each["features"])
        database[name] = {"duration": duration, "subset": each["subset"], "annotations": annotations}
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    return {"data.ground_truth": str(folder / "truth.json"), "data.features": str(folder / "features")}


@pytest.fixture(scope="module")
def long_planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_long(tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="module", params=RECIPES)
def run(request: pytest.FixtureRequest, long_planted: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("run")
    train(config_of(request.param, OPTIONS | RECIPES[request.param] | long_planted), work_dir=work_dir)
    return work_dir


def detections(run: Path, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    run_test(run, apply(evaluation_options(run), options), folder=folder)
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())["results"]
    return results


def check_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """In whichever order."""
    rows = [np.array([(*one["segment"], one["score"]) for one in each]) for each in (found, expected)]
    assert len(rows[0]) == len(rows[1])
    distances = np.abs(rows[0][:, None] - rows[1]).max(axis=2)
    assert distances.min(axis=0).max() < 1e-4
    assert distances.min(axis=1).max() < 1e-4


def test_videos_that_fit_are_seen_as_without_windows(run: Path, tmp_path: Path) -> None:
    expected = detections(run, tmp_path / "whole", {})
    found = detections(run, tmp_path / "windows", {"data.windows.points": "400"})
    assert found == expected
    assert len(found) == 2


def test_windows_of_a_local_network_find_what_it_finds_in_the_whole_video(run: Path, tmp_path: Path) -> None:
    """Attention and convolutions see fewer features than the 72 around each point that windows show."""
    if "tridet" in read_localizer(find_model(run)).recipe:
        pytest.skip("TriDet's mean over time and group norms see all of its input")
    candidates = {"task.nms.method": "none", "task.nms.most": "20000"}
    expected = detections(run, tmp_path / "whole", candidates)
    windows = {"data.windows.points": "208", "data.windows.overlap": "0.6923"}  # the last one is full
    found = detections(run, tmp_path / "windows", candidates | windows)
    assert set(found) == set(expected)
    for name in expected:
        check_same(found[name], expected[name])
    short = detections(run, tmp_path / "short", candidates | {"data.windows.points": "16", "data.windows.overlap": "0"})
    with pytest.raises(AssertionError):
        check_same(short["long_0"], expected["long_0"])


def test_a_raw_video_is_seen_in_the_windows_of_the_test(
    run: Path, long_planted: dict[str, str], tmp_path: Path
) -> None:
    """Features come in blocks of any length."""
    recipe = read_localizer(find_model(run)).recipe
    own = tmp_path / "run"
    options = OPTIONS | RECIPES[recipe] | long_planted | {"data.windows.seconds": "96", "schedule.epochs": "1",
                                                          "schedule.warmup_epochs": "0"}  # fmt: skip
    train(config_of(recipe, options), work_dir=own)
    tested = detections(own, tmp_path / "test", {})["long_1"]
    folder = find_model(own)
    description = read_localizer(folder)
    proposer = description.task.load_proposer(folder, description, RuntimeOptions())
    assert proposer.in_windows is not None
    features = np.load(Path(long_planted["data.features"]) / "long_1.npy")
    blocks = iter(np.split(features, [7, 130, 131, 300]))
    found = proposer.in_windows.propose(blocks, len(features), whole_video(float(len(features))))
    both = [{"segment": s, "score": p} for s, p in zip(found.segments.tolist(), found.scores.tolist(), strict=True)]
    check_same(both, tested)
    assert next(blocks, None) is None


@pytest.mark.slow
def test_two_processes_find_what_one_finds(run: Path, tmp_path: Path) -> None:
    expected = detections(run, tmp_path / "one", {"data.windows.points": "96"})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "kinema"]
    arguments = ["test", str(run), "--work-dir", str(tmp_path / "two"), "--data.windows.points", "96"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two" / "results.json").read_text())["results"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data.windows.points": "7"}, "windows of 7 features are too short .* pass at least 8"),
        ({"data.windows.points": "64", "data.parts": "32"}, "--data.parts 32 brings whole videos to so many points"),
        ({"data.windows.points": "64", "data.windows.seconds": "3"}, "the same length in two units"),
    ],
)
def test_faults(run: Path, options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        detections(run, tmp_path, options)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_planted_instances_are_detected_in_windows(recipe: str, long_planted: dict[str, str], tmp_path: Path) -> None:
    options = {"data.workers": "0", "schedule.epochs": "20", "schedule.warmup_epochs": "1", "data.max_length": "64",
               "data.windows.points": "64", **long_planted}  # fmt: skip
    torch.manual_seed(0)
    found = train(config_of(recipe, options), work_dir=tmp_path)
    assert found["average_mAP"] >= 0.9
