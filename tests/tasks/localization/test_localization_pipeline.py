"""The documented commands one after the other, from raw videos to what their localization is worth, in seconds."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from kinema.cli import main
from kinema.weights.find import find_model

SECONDS = 24
UNIT = 30
"""Time stamps are multiples of 1 / UNIT seconds."""


def times_of(slow_first: bool, *, variable: bool) -> list[int]:
    """Half of a video has 3 frames/s, the other one 30; or all of it has 15."""
    if not variable:
        return list(range(0, SECONDS * UNIT, 2))
    half = SECONDS * UNIT // 2
    return [*range(0, half, 10 if slow_first else 1), *range(half, 2 * half, 1 if slow_first else 10)]


def write_drawn(path: Path, times: Sequence[int], segment: tuple[float, float], random: np.random.Generator) -> None:
    """A dim noise in which a bright disc moves during the segment, in seconds; frames are shown at `times` / UNIT."""
    rows, columns = np.mgrid[:48, :64]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", UNIT, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, UNIT)
        for time in times:
            image = random.integers(20, 60, (48, 64, 1), np.uint8).repeat(3, axis=2)
            if segment[0] <= time / UNIT < segment[1]:
                centre = 32 + 6 * np.sin(time / 5)
                image[(rows - 24) ** 2 + (columns - centre) ** 2 < 150] = (250, 230, 60)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, UNIT)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def write_videos(folder: Path, label: str, *, number: int, variable: bool) -> None:
    """Videos and their ground truth; one in three is for validation."""
    random, database = np.random.default_rng(0), {}
    (folder / "videos").mkdir(parents=True)
    for k in range(number):
        start = float(random.uniform(1, 17))
        segment = (start, start + float(random.uniform(3, 6)))
        times = times_of(bool(k % 2), variable=variable)
        write_drawn(folder / "videos" / f"video_{k:02}.mp4", times, segment, random)
        database[f"video_{k:02}"] = {
            "subset": "validation" if k % 3 == 2 else "training",
            "duration": SECONDS,
            "annotations": [{"label": label, "segment": list(segment)}],
        }
    (folder / "truth.json").write_text(json.dumps({"database": database}))


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, Any]:
    assert main([*command, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("variable", [False, True], ids=["constant", "variable"])
def test_from_raw_videos_to_what_they_are_worth(
    variable: bool, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = json.loads((find_model(tiny_run) / "model.json").read_text())["classes"][0]
    write_videos(tmp_path, label, number=30, variable=variable)
    videos, features, run, truth = (str(tmp_path / name) for name in ("videos", "features", "bmn", "truth.json"))
    output = ["--output", features, "--stride", "4", "--window", "4", "--workers", "1"]
    assert main(["prepare", "features", str(tiny_run), videos, *output]) == 0
    channels = json.loads(next((tmp_path / "features").glob("video_*.json")).read_text())["channels"]
    options = {
        "data.ground_truth": truth, "data.features": features, "data.workers": "0", "data.batch_size": "2",
        "model.feature_channels": str(channels), "schedule.epochs": "30", "schedule.milestones": "20",
    }  # fmt: skip
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    assert main(["train", "bmn_64x50_small_feature", "--work-dir", run, *flags]) == 0
    capsys.readouterr()

    tested = answer(capsys, "test", run)
    assert tested["videos"] == 10
    results = str(tmp_path / "bmn" / "test" / "results.json")
    measured = answer(capsys, "evaluate", "proposals", "--ground-truth", truth, "--results", results)
    assert measured == pytest.approx({name: tested[name] for name in measured})
    assert measured["AR@10"] > 0.8

    detections = str(tmp_path / "detections.json")
    found = answer(capsys, "localize", run, videos, "--output", detections)["results"]
    database = json.loads(Path(truth).read_text())["database"]
    assert found.keys() == database.keys()
    overlaps = [tiou(found[name][0]["segment"], entry["annotations"][0]["segment"]) for name, entry in database.items()]
    assert np.median(overlaps) > 0.7, overlaps

    metrics = answer(capsys, "evaluate", "detection", "--ground-truth", truth, "--results", detections)
    labels = [one["label"] for name in found if database[name]["subset"] == "validation" for one in found[name]]
    assert metrics["left_out"] == sum(name != label for name in labels)
    right = [{**one, "label": label} for name in found for one in found[name][:1]]
    named = {name: [one] for name, one in zip(found, right, strict=True)}
    Path(detections).write_text(json.dumps({"results": named}))
    metrics = answer(capsys, "evaluate", "detection", "--ground-truth", truth, "--results", detections)
    assert metrics["mAP"]["0.5"] > 0.9, metrics
    assert metrics["left_out"] == 0


def tiou(one: Sequence[float], other: Sequence[float]) -> float:
    shared = max(min(one[1], other[1]) - max(one[0], other[0]), 0.0)
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)
