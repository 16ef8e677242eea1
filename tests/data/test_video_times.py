"""When frames are shown, against what ffprobe says of each."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.data.readers.sources import open_video
from kinema.data.readers.timed_video import frame_times
from kinema.errors import MediaError
from tests.data.drawn_videos import FRAMES, write_video

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="needs ffprobe, of FFmpeg")

JUMPS = np.cumsum([0, *([1, 4, 2, 7] * FRAMES)[: FRAMES - 1]]).tolist()
VIDEOS: dict[str, dict[str, object]] = {
    "constant.mp4": {},
    "variable.mp4": {"times": JUMPS, "time_base": Fraction(1, 100)},
    "variable.mkv": {"times": JUMPS, "time_base": Fraction(1, 100)},
    "variable.ts": {"times": JUMPS, "time_base": Fraction(1, 100)},
    "late.mp4": {"times": range(1000, 1000 + FRAMES)},
    "hidden.mp4": {"times": range(-20, FRAMES - 20), "container_options": {"avoid_negative_ts": "disabled"}},
    "vp9.webm": {"codec": "libvpx-vp9", "times": JUMPS, "time_base": Fraction(1, 100)},
    "mpeg4.avi": {"codec": "mpeg4"},
}


def said_by_ffprobe(path: Path) -> np.ndarray:
    """Seconds of each frame, from the start of the file's earliest stream."""

    def probe(*entries: str) -> list[str]:
        arguments = ["ffprobe", "-v", "error", "-of", "csv=p=0", *entries, str(path)]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()

    start = float(probe("-show_entries", "format=start_time")[0].strip(","))
    times = probe("-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time")
    return np.array([float(time.partition(",")[0]) for time in times]) - start


@pytest.mark.parametrize("name", VIDEOS)
def test_times_are_those_of_ffprobe(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_video(path, **VIDEOS[name])  # type: ignore[arg-type]
    times = frame_times(str(path))
    assert len(times) == len(open_video(str(path)))
    np.testing.assert_allclose(times, said_by_ffprobe(path), atol=2e-6)
    np.testing.assert_array_equal(frame_times(path.read_bytes()), times)


@pytest.mark.parametrize(
    ("name", "options"),
    [("b_frames.avi", {}), ("raw.h264", {}), ("mpeg2.mpg", {"codec": "mpeg2video", "b_frames": 2})],
)
def test_without_time_stamps_frames_are_evenly_spaced(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    write_video(tmp_path / name, **options)
    np.testing.assert_allclose(frame_times(str(tmp_path / name)), np.arange(FRAMES) / 25)


def test_no_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a line\n" * 100)
    with pytest.raises(MediaError, match="no video file, but text"):
        frame_times(str(path))
