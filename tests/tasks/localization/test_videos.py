"""Seconds and fractions: what the features of a video cover, and what that makes of its instances."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kinema.data.features.packed import pack_features
from kinema.data.features.source import FeatureSource
from kinema.data.features.spans import FeatureSpan
from kinema.errors import UserError
from kinema.storage import Direct
from kinema.tasks.localization.data.short_instances import best_overlaps, warn_of_short_instances
from kinema.tasks.localization.data.videos import Videos, read_truth, with_features
from tests.tasks.localization.plain_loops import overlap


def written(folder: Path, entries: dict[str, Any], descriptions: dict[str, Any] | None = None) -> Videos:
    """The videos of a ground truth, whose features are described or not."""
    (folder / "features").mkdir(exist_ok=True)
    for video in entries:
        np.save(folder / "features" / f"{video}.npy", np.zeros((25, 4), np.float32))
    for video, description in (descriptions or {}).items():
        (folder / "features" / f"{video}.json").write_text(json.dumps(description))
    (folder / "truth.json").write_text(json.dumps({"database": entries}))
    return read(folder, folder / "features")


def read(folder: Path, features: Path) -> Videos:
    path = str(folder / "truth.json")
    source = FeatureSource(str(features), storage=Direct(), parts=100, channels=4)
    return with_features(path, read_truth(path, "training"), source)


def entry(*segments: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {"subset": "training", "annotations": [{"segment": list(each)} for each in segments], **more}


DESCRIBED = {"frames": 418, "fps": 20.0, "duration": 20.9, "stride": 16, "rows": 25, "channels": 4}


@pytest.mark.parametrize(
    ("more", "description"),
    [
        ({"duration": 20.9, "duration_frame": 418, "feature_frame": 400}, None),
        ({"duration_second": 20.9, "duration_frame": 418, "feature_frame": 400}, None),
        ({"duration": 20.9}, DESCRIBED),
        ({}, DESCRIBED),
        ({"duration": 20.9}, {**DESCRIBED, "fps": None, "duration": None}),  # of a folder of images
        # What lies beside the features knows better what they are than the annotations do.
        ({"duration": 20.9, "duration_frame": 418, "feature_frame": 410}, DESCRIBED),
    ],
)
def test_features_cover_400_of_418_frames(tmp_path: Path, more: dict[str, Any], description: dict[str, Any]) -> None:
    """418 frames at 20 frames/s have features for 20 s; one from 5 s to the end fills three quarters."""
    videos = written(tmp_path, {"v": entry((5, 20.9), (10, 15), **more)}, {"v": description} if description else None)
    (span,) = videos.spans
    assert (span.start, span.end, span.last) == pytest.approx((0, 20, 20.9))
    np.testing.assert_allclose(videos.instances[0], [[0.25, 1], [0.5, 0.75]])
    np.testing.assert_allclose(span.seconds(videos.instances[0]), [[5, 20], [10, 15]])


def test_without_a_word_features_cover_the_whole_video(tmp_path: Path) -> None:
    videos = written(tmp_path, {"v": entry((5, 20), duration=20)}, {"v": {"by": "another program"}})
    assert videos.spans == (FeatureSpan(0, 20, 20),)
    np.testing.assert_allclose(videos.instances[0], [[0.25, 1]])


def test_packed_features_carry_what_is_said_of_them(tmp_path: Path) -> None:
    written(tmp_path, {"v": entry((5, 20)), "w": entry((5, 20), duration=40)}, {"v": DESCRIBED})
    files = {video: tmp_path / "features" / f"{video}.npy" for video in "vw"}
    pack_features(files, tmp_path / "all.safetensors")
    assert set(load_file(tmp_path / "all.safetensors")) == {"v", "w"}
    videos = read(tmp_path, tmp_path / "all.safetensors")
    assert videos.spans == (FeatureSpan(0, 20, 20.9), FeatureSpan(0, 40, 40))


def test_the_second_at_which_a_video_starts_counts(tmp_path: Path) -> None:
    videos = written(tmp_path, {"v": entry((2, 12))}, {"v": {**DESCRIBED, "start": 2}})
    assert videos.spans == (FeatureSpan(2, 22, 22.9),)
    np.testing.assert_allclose(videos.instances[0], [[0, 0.5]])


@pytest.mark.parametrize("description", [{"frames": 418}, {**DESCRIBED, "fps": None}, {**DESCRIBED, "rows": 0}])
def test_without_any_duration_nothing_is_learned(tmp_path: Path, description: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="video v has no duration in seconds"):
        written(tmp_path, {"v": entry((1, 2))}, {"v": description})


def test_contradicting_durations_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entries = {"a": entry((1, 2), duration=21.0), "b": entry((1, 2), duration=41.8), "c": entry((1, 2), duration=41.8)}
    videos = written(tmp_path, entries, {"a": DESCRIBED, "b": DESCRIBED})
    assert "durations of 1 of 2 videos contradict those of the videos that the features were made of" in caplog.text
    assert "such as b: 41.80 s here, 20.90 s there" in caplog.text
    assert [span.end for span in videos.spans] == [20, 20, 41.8]


def test_a_damaged_description_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, {"v": entry((1, 2), duration=20.9)})
    (tmp_path / "features" / "v.json").write_text('{"frames": 41')
    assert read(tmp_path, tmp_path / "features").spans == (FeatureSpan(0, 20.9, 20.9),)
    assert "1 descriptions of features cannot be read" in caplog.text
    assert "v.json: it is not JSON" in caplog.text


def test_instances_beyond_the_features_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    segments = [(1, 2), (20.1, 20.8), (3, 3), (19, 20.5)]
    videos = written(tmp_path, {"v": entry(*segments, duration=20.9)}, {"v": DESCRIBED})
    np.testing.assert_allclose(videos.instances[0], [[0.05, 0.1], [0.95, 1]])
    assert len(videos.truth.segments) == 4
    said = "2 of 4 instances have no length, or lie outside the seconds that the features of their video cover: nothing"
    assert said in caplog.text
    assert "proposals are measured as missing them" in caplog.text


@pytest.mark.parametrize("offset", [0, 0.5])
@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(2, 12))
def test_best_overlaps_equal_those_of_all_segments(offset: float, seed: int, parts: int) -> None:
    random = np.random.default_rng(seed)
    segments = np.sort(random.random((20, 2)), axis=1)
    points = (np.arange(parts + 1 - int(2 * offset)) + offset) / parts
    grid = [(a, b) for a in points for b in points if a < b]
    expected = [max([overlap(tuple(one), other) for other in grid], default=0) for one in segments]
    np.testing.assert_allclose(best_overlaps(segments, parts, offset=offset), expected, atol=1e-9)


def test_what_is_shorter_than_the_grid_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """24 minutes at 50 points: segments of 28.8 s, and an instance of 14 s is found at tIoU 0.5 nowhere."""
    entries = {
        "long": entry((144, 158), (288, 316.8), (0, 720), duration=1440),
        "short": entry((1, 2), duration=20),
        "other": entry((1, 1.2), duration=20),
    }
    videos = written(tmp_path, entries)
    warn_of_short_instances(videos, 50, offset=0, what="validation videos")
    assert (
        "validation videos: 2 of 5 instances, in 2 videos, are shorter than the shortest segment that 50 points allow, "
        "such as 28.8 s in video long of 1440 s: at tIoU 0.5 at most 80.0 % of the instances can be found"
    ) in caplog.text
    caplog.clear()
    warn_of_short_instances(videos, 10_000, offset=0, what="validation videos")
    assert not caplog.text
