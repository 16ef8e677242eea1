"""Videos of variable frame rate, seen at a constant one."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.data.readers.sources import Opener, open_video
from kinema.data.readers.timed_video import timed
from kinema.errors import MediaError
from kinema.storage import Direct
from tests.data.drawn_videos import FRAMES, number_of, write_video

SLOW_THEN_FAST = [*range(0, 30 * 6, 6), *range(30 * 6, 30 * 6 + 30)]  # of 1/30 s: 5 frames/s for 6 s, then 30 for 1 s
UNEVEN = np.cumsum([0, *([1, 9, 2, 30] * FRAMES)[: FRAMES - 1]]).tolist()


def shown_at(second: float, times: list[float]) -> int:
    """The last frame that has begun."""
    return max(number for number, time in enumerate(times) if time <= second)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("times", "unit"), [(SLOW_THEN_FAST, 30), (UNEVEN, 100)])
def test_a_frame_is_what_is_shown_at_its_time(times: list[int], unit: int, container: str, tmp_path: Path) -> None:
    path = tmp_path / f"video.{container}"
    write_video(path, times=times, time_base=Fraction(1, unit))
    found = timed(open_video(str(path)), str(path))
    seconds = [time / unit for time in times]
    assert (len(found.reader), found.fps) == (len(times), found.reader.fps)
    assert found.fps is not None
    assert len(times) / found.fps == pytest.approx(seconds[-1], rel=0.2)
    assert len(times) / found.fps >= seconds[-1]
    numbers = [number_of(image) for image in found.reader.frames(range(len(times)))]
    assert numbers == [shown_at((number + 0.5) / found.fps + 1e-6, seconds) for number in range(len(times))]
    assert number_of(found.reader.frames([40, 3])[1]) == numbers[3]
    with pytest.raises(IndexError):
        found.reader.frames([-1])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("constant.mp4", {}),
        ("ntsc.mp4", {"time_base": Fraction(1001, 30000)}),
        ("milliseconds.mkv", {"time_base": Fraction(1001, 30000)}),
        ("vp9.webm", {"codec": "libvpx-vp9", "time_base": Fraction(1, 30)}),
        ("transport.ts", {"time_base": Fraction(1, 24)}),
        ("b_frames.avi", {"codec": "mpeg4", "b_frames": 2}),
        ("late.mkv", {"times": range(1000, 1000 + FRAMES)}),
        ("single.mp4", {"times": [0]}),
    ],
)
def test_of_constant_rates_nothing_changes(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    write_video(tmp_path / name, **options)
    reader = open_video(str(tmp_path / name))
    found = timed(reader, str(tmp_path / name))
    assert found.reader is reader
    assert found.start == 0
    if reader.fps is not None:
        assert found.fps == pytest.approx(reader.fps, rel=1e-3)


def test_folders_of_images_have_no_times(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        Opener(source="rawframes", storage=Direct()).open_timed(str(tmp_path / "none"))


def test_time_stamps_count_from_the_start_of_the_sound(tmp_path: Path) -> None:
    """A picture that begins half a second after the sound starts at half a second."""
    import av

    write_video(tmp_path / "picture.mp4")
    with av.open(str(tmp_path / "picture.mp4")) as picture, av.open(str(tmp_path / "both.mkv"), "w") as both:
        video = both.add_stream_from_template(picture.streams.video[0])
        audio = both.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.sample_rate, sound.pts = 8000, 0
        both.mux(audio.encode(sound))
        both.mux(audio.encode(None))
        for packet in picture.demux(video=0):
            if packet.dts is not None:
                packet.pts += math.floor(0.5 / packet.time_base)
                packet.dts += math.floor(0.5 / packet.time_base)
                packet.stream = video
                both.mux(packet)
    opened = Opener(source="video", storage=Direct()).open_timed(str(tmp_path / "both.mkv"))
    assert opened.start == pytest.approx(0.5, abs=0.002)
    assert [number_of(image) for image in opened.reader.frames([0, 7])] == [0, 7]
