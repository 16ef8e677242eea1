"""Damaged videos, frames and packed files end as samples or as bad files, in every reader and in the loader."""

from pathlib import Path

import pytest
from benchmarks.fuzz_data import Report, run

from kinema.data.readers.sources import reader_in_use
from kinema.errors import UserError
from tests.data.drawn_videos import X264, write_video


def readers() -> list[str]:
    try:
        reader_in_use("torchcodec")
    except UserError:
        return ["pyav"]
    return ["pyav", "torchcodec"]


def holds(report: Report, files: int) -> None:
    assert report.defects == []
    # Each case is read directly and by a loader, and both ways lead to samples and to bad files.
    assert sum(report.outcomes.values()) >= 2 * files
    for way in (*readers(), "rawframes", "packed", "packed_flow"):
        for loader in ("", " loader"):
            for outcome in ("sample", "bad"):
                assert any(key.endswith(f", {way}{loader}: {outcome}") for key in report.outcomes), (way, outcome)


def test_drawn_videos_and_frames_that_are_damaged(tmp_path: Path) -> None:
    write_video(tmp_path / "h264.mp4", options={"x264-params": X264})
    write_video(tmp_path / "mpeg4.avi", codec="mpeg4", b_frames=2)
    write_video(tmp_path / "vp8.mkv", codec="libvpx", options={"deadline": "realtime"})
    write_video(tmp_path / "stream.ts")
    holds(run(tmp_path, files=80, seed=4, readers=readers()), 80)


@pytest.mark.slow
def test_real_videos_and_frames_that_are_damaged(shared: Path) -> None:
    holds(run(shared / "data" / "clips", files=300, seed=5, readers=readers()), 300)
