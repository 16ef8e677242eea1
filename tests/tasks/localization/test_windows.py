"""Windows of long videos: what they cover, what is learned in them, and how their proposals are merged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kinema.api import evaluation_options, run_test, train
from kinema.data.features.spans import FeatureSpan, whole_video
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.tasks.localization.data.short_instances import attainable_overlaps, warn_of_short_instances
from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.data.windows import (
    WindowOptions,
    cut_into_windows,
    merge_all,
    merge_windows,
    windows_of_blocks,
)
from kinema.tasks.localization.metrics.annotations import AMBIGUOUS, GroundTruth
from kinema.tasks.localization.metrics.results import Proposals, as_results
from kinema.tasks.localization.metrics.segments import Floats, tiou
from kinema.tasks.localization.proposals import suppress
from kinema.tasks.localization.soft_nms import SoftNmsOptions
from tests.tasks.localization.activitynet_files import thumos14_test
from tests.tasks.localization.planted import write_planted


def videos_with(instances: list[Floats], seconds: list[float]) -> Videos:
    """Videos whose features cover all of them; instances in seconds."""
    rows = np.repeat(np.arange(len(seconds)), [len(each) for each in instances])
    truth = GroundTruth(
        videos=tuple(f"v{row}" for row in range(len(seconds))),
        labels=("",),
        video=rows,
        label=np.zeros(len(rows), np.int64),
        segments=np.concatenate([np.zeros((0, 2)), *instances]),
        durations=np.array(seconds),
    )
    fractions = tuple(each.reshape(-1, 2) / length for each, length in zip(instances, seconds, strict=True))
    return Videos(truth=truth, spans=tuple(map(whole_video, seconds)), instances=fractions)


@given(length=st.integers(1, 400), rows=st.integers(2, 90), overlap=st.floats(0, 0.95))
def test_windows_overlap_and_cover_the_video(length: int, rows: int, overlap: float) -> None:
    bounds = np.rint(WindowOptions(points=rows, overlap=overlap).bounds(length, rows) * length).astype(int)
    assert set(np.diff(bounds)[:, 0]) == {rows}
    assert bounds[0, 0] == 0
    assert bounds[-1, 1] == max(length, rows)
    shared = bounds[:-1, 1] - bounds[1:, 0]
    assert (shared >= np.floor(rows * overlap)).all()
    assert (np.diff(bounds[:, 0]) > 0).all()
    # What is shorter than the overlap is whole in a window.
    for start in range(max(length - int(rows * overlap), 0)):
        assert ((bounds[:, 0] <= start) & (bounds[:, 1] >= start + int(rows * overlap))).any()


def test_windows_in_seconds_follow_the_rate_of_the_features() -> None:
    videos = videos_with([np.zeros((0, 2)), np.zeros((0, 2))], [100.0, 100.0])
    windows = cut_into_windows(videos, [50, 200], WindowOptions(seconds=20, overlap=0.25))
    for video, rows in ((0, 10), (1, 40)):
        parts = windows.parts[windows.video == video] * (50, 200)[video]
        assert parts[0].tolist() == [0, rows]
        assert parts[1].tolist() == [round(rows * 0.75), round(rows * 1.75)]
    assert all(span.end - span.start == pytest.approx(20) for span in windows.pieces.spans)
    with pytest.raises(UserError, match="the same length in two units"):
        WindowOptions(points=10, seconds=5).check()


def test_instances_are_cut_at_windows_and_dropped_if_little_remains() -> None:
    videos = videos_with([np.array([[2.0, 8.0], [8.0, 13.0], [9.5, 14.5], [30, 31]])], [40.0])
    windows = cut_into_windows(videos, [40], WindowOptions(points=10, overlap=0.5, least_share=0.5))
    told = {tuple(part * 40): each * 10 for part, each in zip(windows.parts, windows.pieces.instances, strict=True)}
    np.testing.assert_allclose(told[0, 10], [[2, 8]])  # of the second two fifths are here
    np.testing.assert_allclose(told[5, 15], [[0, 3], [3, 8], [4.5, 9.5]])
    np.testing.assert_allclose(told[10, 20], [[0, 3], [0, 4.5]])
    assert told[15, 25].size == 0
    kept = windows.with_instances()
    assert [round(part[0] * 40) for part in kept.parts] == [0, 5, 10, 25, 30]
    assert [span.start for span in kept.pieces.spans] == [0, 5, 10, 25, 30]
    assert kept.pieces.truth.videos == ("v0",) * 5


@given(blocks=st.lists(st.integers(1, 9), min_size=1, max_size=12), rows=st.integers(2, 15), overlap=st.floats(0, 0.9))
def test_windows_of_blocks_are_slices_of_all(blocks: list[int], rows: int, overlap: float) -> None:
    length = sum(blocks)
    features = np.arange(2 * length, dtype=np.float32).reshape(-1, 2)
    bounds = np.rint(WindowOptions(points=rows, overlap=overlap).bounds(length, rows) * length).astype(np.int64)
    padded = np.concatenate([features, np.zeros((rows, 2), np.float32)])
    streamed = windows_of_blocks(np.split(features, np.cumsum(blocks)[:-1]), bounds)
    for (first, last), window in zip(bounds, streamed, strict=True):
        np.testing.assert_array_equal(window, padded[first:last])


MEASURE = """
import resource, sys
import numpy as np
from kinema.data.features.source import FeatureSource
from kinema.storage import Direct

source = FeatureSource(sys.argv[1], storage=Direct(), parts=100, channels=64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
length = source.length("long")
for first in np.linspace(0, length - 100, 200).astype(int).tolist():
    source.read("long", (first / length, (first + 100) / length))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("packed", [False, True])
def test_memory_does_not_grow_with_the_features_of_a_video(packed: bool, tmp_path: Path) -> None:
    """512 MB of features, most of them a hole in the file: windows are read within 32 MB."""
    shape = (1 << 21, 64)
    if packed:
        place = tmp_path / "features.safetensors"
        size = 4 * shape[0] * shape[1]
        header = json.dumps({"long": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
        with place.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + size)
    else:
        place = tmp_path
        np.lib.format.open_memmap(place / "long.npy", "w+", np.float32, shape).flush()
    done = subprocess.run([sys.executable, "-c", MEASURE, str(place)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 * 1024  # KiB


def best_cells(inside: Floats, grid: Floats) -> Proposals:
    """What a perfect network proposes of instances (m, 2), fractions of a window: their best cells, if any is near."""
    inside = inside.clip(0, 1)
    overlaps = tiou(inside[inside[:, 1] > inside[:, 0]], grid)
    best = overlaps.argmax(axis=1)
    return Proposals(segments=grid[best], scores=overlaps[np.arange(len(best)), best])


PARTS = 20


def choose(candidates: Proposals, windows: int) -> Proposals:
    return suppress(candidates, SoftNmsOptions(), windows=windows)


@given(start=st.floats(0, 95), length=st.floats(4, 9.5), seconds=st.floats(15, 105))
def test_an_instance_is_found_once_wherever_windows_end(start: float, length: float, seconds: float) -> None:
    """Windows of 20 s every 10 s: a network sees a part of an instance as an instance, and is as sure of it."""
    end = start + length
    assume(end <= seconds)
    videos = videos_with([np.array([[start, end]])], [seconds])
    windows = cut_into_windows(videos, [round(seconds * 10)], WindowOptions(seconds=20))
    candidates = []
    for part, span in zip(windows.parts, windows.pieces.spans, strict=True):
        seen = ((videos.instances[0] - part[0]) / (part[1] - part[0])).clip(0, 1)
        cells = np.rint(seen * PARTS)
        there = cells[:, 1] > cells[:, 0]
        found = Proposals(segments=cells[there] / PARTS, scores=np.full(int(there.sum()), 0.9))
        candidates.append(Proposals(segments=span.seconds(found.segments), scores=found.scores))
    merged = merge_windows(candidates, windows.pieces.spans, tolerance=1 / PARTS, suppress=choose)
    strong = merged.segments[merged.scores > 0.5]
    assert len(strong) == 1
    assert np.abs(strong[0] - [start, end]).max() <= 20 / PARTS + 1e-6


def test_a_part_at_a_border_does_not_win_over_the_whole() -> None:
    spans = [FeatureSpan(0, 20, 30), FeatureSpan(10, 30, 30)]
    part = Proposals(segments=np.array([[14.0, 20.0], [2.0, 5.0]]), scores=np.array([0.95, 0.5]))
    whole = Proposals(segments=np.array([[14.0, 26.0]]), scores=np.array([0.6]))
    merged = merge_windows([part, whole], spans, tolerance=0.05, suppress=choose)
    assert merged.segments.tolist() == [[14, 26], [2, 5]]
    # A part that no other window sees whole is all there is.
    long = Proposals(segments=np.array([[5.0, 20.0]]), scores=np.array([0.95]))
    merged = merge_windows([long, Proposals(segments=np.zeros((0, 2)), scores=np.zeros(0))], spans, tolerance=0.05,
                           suppress=choose)  # fmt: skip
    assert merged.segments.tolist() == [[5, 20]]


def test_perfect_proposals_of_thumos14_are_found(shared: Path) -> None:
    """On 100 points of each test video a quarter of the instances is lost at tIoU 0.5; in windows nearly none is.

    Features are at every 16th frame of 30 per second, and videos end with their last instance.
    """
    database = {
        name: np.array([each[:2] for each in instances if each[2] != AMBIGUOUS]).reshape(-1, 2)
        for name, instances in thumos14_test(shared).items()
    }
    database = {name: instances for name, instances in database.items() if len(instances)}
    seconds = [float(instances.max()) for instances in database.values()]
    videos = videos_with(list(database.values()), seconds)
    whole = attainable_overlaps(videos, 100, offset=0)
    assert (whole >= 0.5).mean() == pytest.approx(0.76, abs=0.01)
    windows = cut_into_windows(videos, [round(each * 30 / 16) for each in seconds], WindowOptions(points=100))
    attainable = attainable_overlaps(videos, 100, offset=0, windows=windows)
    assert (attainable >= 0.5).mean() >= 0.99
    # The same through merging: the best cell of what each window sees of an instance.
    grid = np.array([(a, b) for a in range(100) for b in range(a + 1, 101)]) / 100
    found = {}
    for row, (video, part, span) in enumerate(
        zip(windows.video.tolist(), windows.parts, windows.pieces.spans, strict=True)
    ):
        cells = best_cells((videos.instances[video] - part[0]) / (part[1] - part[0]), grid)
        found[row] = Proposals(segments=span.seconds(cells.segments), scores=cells.scores)
    results = as_results(merge_all(found, windows, tolerance=1 / 100, suppress=choose))
    hits = [
        (tiou(segment[None], results.segments[results.video == video]) >= 0.5).any()
        for video, segment in zip(videos.truth.video, videos.truth.segments, strict=True)
    ]
    assert np.mean(hits) >= 0.99


def test_warnings_follow_the_windows(caplog: pytest.LogCaptureFixture) -> None:
    videos = videos_with([np.array([[100.0, 104.0], [200, 300]])], [600.0])
    warn_of_short_instances(videos, 50, offset=0, what="training videos")
    assert "such as 12.0 s in video v0 of 600 s" in caplog.text
    assert "or overlapping windows (--data.windows.seconds)" in caplog.text
    caplog.clear()
    windows = cut_into_windows(videos, [1200], WindowOptions(seconds=60))
    warn_of_short_instances(videos, 50, offset=0, what="training videos", windows=windows)
    assert "shorter than the shortest segment" not in caplog.text
    said = "1 of 2 instances are longer than a window of their video, such as one of 100.0 s in windows of 60.0 s"
    assert said in caplog.text
    caplog.clear()
    windows = cut_into_windows(videos, [1200], WindowOptions(seconds=300))
    warn_of_short_instances(videos, 50, offset=0, what="training videos", windows=windows)
    assert "such as 6.0 s in windows of video v0 of 300 s" in caplog.text


@pytest.fixture(scope="module")
def long_planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Videos of 4 planted ones each, one after the other: 200 points."""
    folder = tmp_path_factory.mktemp("long")
    places = write_planted(folder / "short", videos=48)
    truth = json.loads(Path(places["data.ground_truth"]).read_text())["database"]
    (folder / "features").mkdir()
    database = {}
    for subset in ("training", "validation"):
        names = [name for name, entry in truth.items() if entry["subset"] == subset]
        for number in range(len(names) // 4):
            group, begin, annotations = names[number * 4 : number * 4 + 4], 0.0, []
            for name in group:  # all brought to 60 s
                scale = 60 / truth[name]["duration"]
                for each in truth[name]["annotations"]:
                    segment = [begin + time * scale for time in each["segment"]]
                    annotations.append({"label": "turn", "segment": segment})
                begin += 60
            joined = [np.load(folder / "short" / "features" / f"{name}.npy") for name in group]
            np.save(folder / "features" / f"{subset}_{number}.npy", np.concatenate(joined))
            entry = {"duration": 240.0, "subset": subset, "annotations": annotations}
            database[f"{subset}_{number}"] = entry
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    return {"data.ground_truth": str(folder / "truth.json"), "data.features": str(folder / "features")}


SMALL = {"data.workers": "0", "data.batch_size": "4", "data.windows.points": "50"}
BMN = {
    "model.hidden_1d": "16", "model.hidden_2d": "8", "model.hidden_3d": "16", "model.samples": "4",
    "schedule.epochs": "1", "schedule.milestones": "1",
}  # fmt: skip
BSN = {f"{stage}.schedule.{key}": "1" for stage in ("tem", "pem") for key in ("epochs", "milestones")}


@pytest.mark.parametrize(("recipe", "small"), [("bmn_64x50_small_feature", BMN), ("bsn_64x50_small_feature", BSN)])
def test_localizers_train_and_test_on_windows(
    recipe: str, small: dict[str, str], long_planted: dict[str, str], tmp_path: Path
) -> None:
    found = train(config_of(recipe, SMALL | small | long_planted), work_dir=tmp_path)
    assert found["videos"] == 3
    tested = run_test(tmp_path, evaluation_options(tmp_path), folder=tmp_path / "test")
    assert tested == pytest.approx(found)
    results = json.loads((tmp_path / "test" / "results.json").read_text())["results"]
    assert len(results) == 3
    for proposals in results.values():
        ends = [each["segment"][1] for each in proposals]
        assert max(ends) > 200  # from all over the video
        assert max(each["segment"][1] - each["segment"][0] for each in proposals) <= 60 + 1e-6
