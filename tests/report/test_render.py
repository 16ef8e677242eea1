from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinema.data.readers.sources import open_video
from kinema.errors import MediaError, UserError
from kinema.prediction import Prediction
from kinema.report.render import Box, Card, Row, lay_out, render_prediction
from tests.data.drawn_videos import write_video

PREDICTIONS = [Prediction("turning_counterclockwise", 0.75), Prediction("growing", 0.2), Prediction("shrinking", 0.05)]


@dataclass
class Clip:
    """Frames in memory, which notes what it was asked for; `broken` is the first frame that cannot be read."""

    clip: torch.Tensor
    fps: float | None = None
    broken: int = 10**9
    path: str = "a clip"
    asked: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.clip)

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        self.asked.append(list(indices))
        if max(indices) >= self.broken:
            raise MediaError(self.path, "a frame does not decode")
        return self.clip[list(indices)]


def smooth_clip(frames: int, height: int, width: int) -> torch.Tensor:
    """(T, H, W, 3) of slow colour gradients that move."""
    t, y, x = np.ogrid[:frames, :height, :width]
    red = 128 + 90 * np.sin(8 * x / width + t / 5) + 0 * y
    green = 128 + 90 * np.sin(9 * y / height - t / 7) + 0 * x
    blue = 128 + 60 * np.cos(5 * (x / width + y / height)) + 0 * t
    return torch.from_numpy(np.stack([red, green, blue], -1).astype(np.uint8))


def decoded(path: Path) -> NDArray[np.uint8]:
    """(T, H, W, 3) of a video."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4"])
def test_every_frame_is_written_as_h264_that_any_player_shows(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"a:b{suffix}")
    render_prediction(Clip(smooth_clip(70, 97, 131), fps=30000 / 1001), PREDICTIONS, path)
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (654, 484)
        assert stream.average_rate == pytest.approx(30000 / 1001, rel=1e-3)
    assert len(frames) == 70
    assert frames[0].format.name == "yuv420p"
    bt709, limited = 1, 1
    assert (frames[0].colorspace, frames[0].color_range, frames[0].color_primaries) == (bt709, limited, bt709)
    if suffix != ".mkv":
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("fps", "expected"), [(None, 16), (5.9, 5.9), (24, 24)])
def test_the_speed_is_the_readers_where_it_knows_it(fps: float | None, expected: float, tmp_path: Path) -> None:
    render_prediction(Clip(smooth_clip(8, 64, 64), fps=fps), PREDICTIONS, tmp_path / "new folder" / "out.mp4")
    with av.open(str(tmp_path / "new folder" / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == pytest.approx(expected, rel=1e-3)


CLOCKS = {
    "a.mp4": ("libx264", (64, 48), range(50)),
    "a.flv": ("flv", (64, 48), range(50)),
    "a.wmv": ("wmv2", (64, 48), range(50)),
    "a.dv": ("dvvideo", (720, 576), range(12)),
    "a.ts": ("mpeg2video", (64, 48), range(50)),
    "variable.mp4": ("libx264", (64, 48), [0, 1, 2, 30, 31, 60, 61, 62, 90]),
    "variable.mkv": ("libx264", (64, 48), [0, 10, 11, 12, 100]),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_frames_are_shown_when_the_file_says(name: str, tmp_path: Path) -> None:
    """Headers of FLV and WMV name a frame rate that is n / (n - 1) of the true one, those of DV 60,000."""
    codec, size, times = CLOCKS[name]
    pixels = "yuv420p"
    write_video(tmp_path / name, codec=codec, pixel_format=pixels, size=size, times=times)
    render_prediction(open_video(str(tmp_path / name)), PREDICTIONS, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        shown = [frame.time for frame in container.decode(stream)]
        seconds = float(stream.duration * stream.time_base)
    assert shown == pytest.approx([time / 25 for time in times], abs=2e-3)
    mean_gap = times[-1] / (len(times) - 1)
    assert seconds == pytest.approx((times[-1] + mean_gap) / 25, abs=0.01)


def test_the_repeats_of_theora_keep_their_time(shared: Path, tmp_path: Path) -> None:
    """Its header names no frame rate, and frames that repeat the one before are empty packets."""
    render_prediction(open_video(str(shared / "data/odd_media/o.ogv")), PREDICTIONS, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        shown = [round(frame.time * 25) for frame in container.decode(video=0)]
    assert shown == [0, 1, 2, 3, 4, 6, 7, 9, 11, 12, *shown[10:]]
    assert len(shown) == 19
    assert shown[-1] == 24


@pytest.mark.parametrize(("height", "width", "scale"), [(96, 128, 5), (240, 320, 2), (500, 480, 1)])
def test_only_the_card_and_the_time_bar_cover_the_enlarged_scene(
    height: int, width: int, scale: int, tmp_path: Path
) -> None:
    clip = smooth_clip(10, height, width)
    render_prediction(Clip(clip), PREDICTIONS, tmp_path / "out.mp4")
    video = decoded(tmp_path / "out.mp4").astype(float)
    enlarged = (
        F.interpolate(clip.permute(0, 3, 1, 2).float(), scale_factor=scale, mode="bicubic").permute(0, 2, 3, 1).numpy()
    )
    assert video.shape == enlarged.shape
    difference = np.abs(video - enlarged).max(-1)

    left, top, right, bottom = lay_out(PREDICTIONS, width * scale, height * scale).box
    inside = np.zeros(video.shape[1:3], bool)
    inside[top:bottom, left:right] = True
    bar = np.zeros_like(inside)
    bar[-(min(inside.shape) // 120) :] = True
    near = np.zeros_like(inside)  # the codec's blocks smear their edges
    near[max(top - 8, 0) : bottom + 8, max(left - 8, 0) : right + 8] = True
    near[-16:] = True
    assert difference[:, ~near].mean() < 3
    assert np.quantile(difference[:, ~near], 0.999) < 16
    assert difference[:, inside].mean() > 40
    assert difference[:, bar].mean() > 40
    assert inside.mean() < 0.25


def test_the_time_bar_is_bright_as_far_as_the_video_has_come(tmp_path: Path) -> None:
    gray = torch.full((12, 120, 160, 3), 128, dtype=torch.uint8)
    render_prediction(Clip(gray), PREDICTIONS, tmp_path / "out.mp4")
    line = decoded(tmp_path / "out.mp4")[:, -2].astype(int).sum(-1)
    bright = line > 3 * 128
    for frame, row in enumerate(bright):
        gone = round((frame + 1) / 12 * 640)
        assert row[: gone - 4].all()
        assert not row[gone + 4 :].any()


def test_bars_are_as_long_as_their_scores(tmp_path: Path) -> None:
    black = torch.zeros((3, 480, 640, 3), dtype=torch.uint8)
    shown = [Prediction("run", 0.75), Prediction("swim", 0.2), Prediction("turn", 0.05)]  # no letter reaches deep
    render_prediction(Clip(black), shown, tmp_path / "out.mp4")
    picture = decoded(tmp_path / "out.mp4")[1].astype(int)
    for row, prediction in zip(lay_out(shown, 640, 480).rows, shown, strict=True):
        left, top, right, bottom = row.box
        blue = picture[(bottom - 5) : (bottom - 3), left:right, 2].mean(0) > 100
        expected = prediction.score * (right - left)
        assert blue[8 : int(expected) - 4].all()
        assert not blue[int(expected) + 4 :].any()
        assert top < bottom


def test_the_scene_shows_through_the_card_which_stays_dark_enough_to_read(tmp_path: Path) -> None:
    first, second = lay_out(PREDICTIONS, 640, 480).rows[:2]
    left, _, right, between = first.box
    seen = []
    for name, brightness in (("black", 0), ("white", 255)):
        flat = torch.full((3, 480, 640, 3), brightness, dtype=torch.uint8)
        render_prediction(Clip(flat), PREDICTIONS, tmp_path / f"{name}.mp4")
        seen.append(decoded(tmp_path / f"{name}.mp4")[1, between : second.box[1], left + 9 : right - 9].mean())
    assert seen[0] + 30 < seen[1] < 118  # white on 118 has a contrast of 4.5, the least for text by WCAG


@pytest.mark.parametrize(("height", "width", "at_once"), [(4, 6, 32), (2160, 3840, 2)])
def test_frames_are_read_once_in_order_a_few_at_a_time(height: int, width: int, at_once: int, tmp_path: Path) -> None:
    frame = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    clip = Clip(frame.expand(at_once * 2 + 1, -1, -1, -1))
    render_prediction(clip, PREDICTIONS, tmp_path / "out.mp4")
    first, *chunks = clip.asked
    assert first == [0]
    assert [index for chunk in chunks for index in chunk] == list(range(len(clip)))
    assert max(len(chunk) for chunk in chunks) == at_once


def box_of(text: str, row: Row, *, anchor: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = row.box
    x = left + row.inset if anchor == "lm" else right - row.inset
    x0, y0, x1, y1 = row.font.getbbox(text, anchor=anchor)
    middle = (top + bottom) / 2
    return x + x0, middle + y0, x + x1, middle + y1


def assert_sound(card: Card, width: int, height: int) -> None:
    """Every box within the one that holds it, rows one below the other, texts side by side."""

    def assert_within(inner: Sequence[float], outer: Box) -> None:
        assert outer[0] <= inner[0] <= inner[2] <= outer[2]
        assert outer[1] <= inner[1] <= inner[3] <= outer[3]

    assert_within(card.box, (0, 0, width, height))
    for row in card.rows:
        assert_within(row.box, card.box)
        assert row.box[0] <= row.bar_right <= row.box[2]
        label, percent = box_of(row.label, row, anchor="lm"), box_of(row.percent, row, anchor="rm")
        assert row.box[0] <= label[0]
        assert label[2] < percent[0]
        assert_within(percent, row.box)
    for above, below in zip(card.rows, card.rows[1:], strict=False):
        assert above.box[3] < below.box[1]


predictions = st.lists(st.builds(Prediction, st.text(max_size=300), st.floats(0, 1)), min_size=1, max_size=9)


@settings(deadline=None)
@given(predictions, st.integers(480, 3000), st.integers(480, 3000))
def test_no_text_leaves_its_place(shown: list[Prediction], width: int, height: int) -> None:
    shown.sort(key=lambda prediction: -prediction.score)
    assert_sound(lay_out(shown, width, height), width, height)


@pytest.mark.parametrize(
    "label", ["W" * 500, "Ŵg" * 40, "走る犬 " * 30, "ходьба", "مشي", "👩‍👩‍👧", "a\nb\tc", "\udcff", ""]
)
def test_hard_labels_are_drawn(label: str, tmp_path: Path) -> None:
    shown = [Prediction(label, 1.0), Prediction(label, 0.5)]
    card = lay_out(shown, 640, 480)
    assert_sound(card, 640, 480)
    for row in card.rows:
        _, top, _, bottom = box_of(row.label, row, anchor="lm")
        assert row.box[1] <= top <= bottom <= row.box[3]
    render_prediction(Clip(smooth_clip(2, 96, 128)), shown, tmp_path / "out.mp4")
    assert decoded(tmp_path / "out.mp4").shape == (2, 480, 640, 3)


def test_the_best_label_is_named_in_full_and_what_matters_beside_it() -> None:
    shown = [
        Prediction("passing American football", 0.9),
        *(Prediction(f"class {i}", 0.012 - i / 1000) for i in range(9)),
    ]
    card = lay_out(shown, 640, 480)
    assert [(row.label, row.percent) for row in card.rows] == [
        ("passing American football", "90.0%"), ("class 0", "1.2%"), ("class 1", "1.1%"), ("class 2", "1.0%"),
    ]  # fmt: skip
    assert card.rows[0].font.size > card.rows[1].font.size
    assert len(lay_out([Prediction(str(i), 0.1) for i in range(9)], 640, 480).rows) == 5
    assert [row.percent for row in lay_out([Prediction("a", 0.004)], 640, 480).rows] == ["0.4%"]


def test_a_long_label_keeps_both_ends() -> None:
    label = lay_out([Prediction("first " + "and " * 50 + "last", 0.5)], 640, 480).rows[0].label
    assert label.startswith("first and")
    assert "…" in label
    assert label.endswith("and last")


@pytest.mark.parametrize(
    ("name", "message"), [("a.gif", r"'\.gif'; .*\.mkv"), ("a", "''"), ("a.mp5", r"\.mkv; did you mean '\.mp4'")]
)
def test_other_suffixes_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        render_prediction(Clip(smooth_clip(2, 8, 8)), PREDICTIONS, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out\.mp4 cannot be written"):
        render_prediction(Clip(smooth_clip(2, 8, 8)), PREDICTIONS, tmp_path / "file" / "out.mp4")


def test_a_video_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("old")
    with pytest.raises(MediaError, match="a clip: a frame does not decode"):
        render_prediction(Clip(smooth_clip(80, 16, 16), broken=50), PREDICTIONS, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_real_clip_is_rendered(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "clips" / "TrumanShow_wave_f_nm_np1_fr_med_26.avi"
    reader = open_video(str(path), path=str(path))
    render_prediction(reader, PREDICTIONS, tmp_path / "out.mp4")
    video = decoded(tmp_path / "out.mp4")
    assert len(video) == len(reader)
    height, width = reader.frames([0]).shape[1:3]
    assert video.shape[1:3] == (2 * height, 2 * width)
    middle = len(reader) // 2
    scene = video[middle, height:-16].reshape(height // 2 - 8, 2, width, 2, 3).mean((1, 3))
    assert np.abs(scene - reader.frames([middle])[0, height // 2 : -8].numpy()).mean() < 4
