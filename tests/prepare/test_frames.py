"""Frames and flow on disk, read again by Pillow; and by training's own readers."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from kinema.data.lists.annotations import read_index
from kinema.data.readers.sources import open_video
from kinema.errors import UserError
from kinema.prepare.flow import prepare_flow, to_gray
from kinema.prepare.frames import prepare_frames
from kinema.prepare.options import FlowOptions, FramesOptions
from tests.data.drawn_videos import FRAMES, number_of, write_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two classes, three videos."""
    for place in ("in/jump/a.mp4", "in/jump/b.v2.mp4", "in/run/c.mp4"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / place, size=(96, 64))
    return tmp_path / "in"


def test_every_frame_becomes_an_image_and_the_list_is_ready_to_train_on(videos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert prepare_frames(FramesOptions(source=videos, output=output, short_side=48, quality=90, workers=1)).done == 3
    for folder in ("jump/a", "jump/b.v2", "run/c"):
        images = sorted((output / folder).iterdir())
        assert [image.name for image in images] == [f"img_{k:05}.jpg" for k in range(1, FRAMES + 1)]
        pictures = [np.asarray(Image.open(image)) for image in images]
        assert [number_of(picture) for picture in pictures] == list(range(FRAMES))
        assert pictures[0].shape == (48, 72, 3)
    assert (output / "frames.csv").read_text().splitlines() == [
        "path,frames,class", "jump/a,60,jump", "jump/b.v2,60,jump", "run/c,60,run",
    ]  # fmt: skip
    assert (output / "classes.txt").read_text().split() == ["jump", "run"]
    index = read_index(output / "frames.csv", kind="rawframes")
    assert index.frame_counts.tolist() == [FRAMES] * 3


def test_names_of_clips_may_look_like_temporary_ones(tmp_path: Path) -> None:
    """Each clip has another number of frames."""
    names = ["goal.mp4", "goal.old.mp4", "goal.new.mp4", "goal.old.old.mp4", ".goal.abcdefgh.mp4"]
    (tmp_path / "in" / "shot").mkdir(parents=True)
    for frames, name in enumerate(names, 5):
        write_video(tmp_path / "in" / "shot" / name, times=range(frames))
    output = tmp_path / "out"
    output.mkdir()
    (output / ".DS_Store").touch()
    for _ in range(2):
        assert (
            prepare_frames(FramesOptions(source=tmp_path / "in", output=output, short_side=32, workers=1)).exit_code
            == 0
        )
        counts = {folder.name: len(list(folder.iterdir())) for folder in (output / "shot").iterdir()}
        assert counts == {"goal": 5, "goal.old": 6, "goal.new": 7, "goal.old.old": 8}
    (output / "shot" / "goal" / ".DS_Store").touch()
    prepare_frames(FramesOptions(source=tmp_path / "in", output=output, short_side=32, workers=1))
    assert read_index(output / "frames.csv", kind="rawframes").frame_counts.tolist() == [5, 7, 6, 8]


@pytest.mark.parametrize(("name", "frames"), [("paff.mp4", 6), ("paff.ts", 6), ("vp8.webm", 50), ("cut.ts", 25)])
def test_frames_are_those_that_are_shown(name: str, frames: int, shared: Path, tmp_path: Path) -> None:
    """Of files with more packets than frames: fields, hidden frames, some that nothing can decode."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the program ffmpeg, which says what is right, is not installed")
    source = shared / "data" / "odd_media" / name
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).symlink_to(source)
    assert (
        prepare_frames(
            FramesOptions(source=tmp_path / "in", output=tmp_path / "out", short_side=0, workers=1)
        ).exit_code
        == 0
    )
    images = sorted((tmp_path / "out" / Path(name).stem).iterdir())
    assert [image.name for image in images] == [f"img_{number:05}.jpg" for number in range(1, frames + 1)]
    pictures = np.stack([np.asarray(Image.open(image)) for image in images]).astype(int)
    decode = ["ffmpeg", "-v", "quiet", "-i", str(source), "-vsync", "0", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    shown = np.frombuffer(subprocess.run(decode, check=True, capture_output=True).stdout, np.uint8)
    shown = shown.reshape(pictures.shape)
    expected = [simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(one, 95, "RGB", "420")) for one in shown]
    assert np.abs(pictures - np.stack(expected)).mean(axis=(1, 2, 3)).max() < 2


def test_a_bad_video_is_missing_from_the_list_and_made_once_it_is_mended(videos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = FramesOptions(source=videos, output=output, short_side=0, workers=1)
    whole = (videos / "jump/a.mp4").read_bytes()
    (videos / "jump/a.mp4").write_bytes(b"none")
    assert prepare_frames(options).exit_code == 1
    assert not (output / "jump/a").exists()
    assert len((output / "frames.csv").read_text().splitlines()) == 1 + 2
    (videos / "jump/a.mp4").write_bytes(whole)
    summary = prepare_frames(options)
    assert (summary.done, summary.kept) == (1, 2)
    assert len((output / "frames.csv").read_text().splitlines()) == 1 + 3


@settings(deadline=None)
@given(st.lists(st.floats(-60, 60), min_size=1, max_size=50), st.sampled_from([15.0, 20.0]))
def test_gray_levels_are_the_usual_ones(motion: list[float], bound: float) -> None:
    """denseflow and MMAction2: [-bound, bound] to [0, 255], rounded; what is larger is cut off."""
    values = np.array(motion, np.float32)
    gray = to_gray(values, bound)
    for value, level in zip(values.tolist(), gray.tolist(), strict=True):
        exact = 255 * (min(max(value, -bound), bound) + bound) / (2 * bound)
        assert abs(level - exact) <= 0.5 + 1e-4
    assert np.abs(from_gray(gray, bound) - np.clip(values, -bound, bound)).max() <= bound / 255 + 1e-3
    assert to_gray(np.zeros(1, np.float32), bound).tolist() == [128]


def from_gray(gray: NDArray[np.uint8], bound: float) -> NDArray[np.float64]:
    """Displacements in pixels."""
    return gray * (2 * bound / 255) - bound


def write_moving(path: Path, right: int, down: int) -> None:
    """A textured picture that moves as a whole, pixels a frame."""
    texture = np.kron(np.random.default_rng(0).integers(40, 220, (30, 40)), np.ones((8, 8)))
    for number in range(6):
        top, left = 60 - number * down, 60 - number * right
        Image.fromarray(texture[top : top + 96, left : left + 128].astype(np.uint8)).save(
            path / f"img_{number + 1:05}.jpg", quality=95
        )


@pytest.mark.parametrize("after", [0, 16])
def test_tvl1_finds_a_known_motion(tmp_path: Path, after: int) -> None:
    """Also after a video of `after` px, for which fewer scales of the image pyramid are enough."""
    pytest.importorskip("cv2")
    if after:
        (tmp_path / "small").mkdir()
        for number in range(2):
            Image.new("RGB", (after, after)).save(tmp_path / f"small/{number}.jpg")
        small, out = str(tmp_path / "small"), tmp_path / "out_small"
        assert prepare_flow(FlowOptions(source=small, output=out, kind="rawframes", short_side=0, workers=1)).done == 1
    (tmp_path / "in/moving").mkdir(parents=True)
    write_moving(tmp_path / "in/moving", right=3, down=-2)
    options = FlowOptions(source=tmp_path / "in", output=tmp_path / "out", kind="rawframes", short_side=0, workers=1)
    assert prepare_flow(options).done == 1
    images = sorted(path.name for path in (tmp_path / "out/moving").iterdir())
    assert images == [f"flow_{axis}_{k:05}.jpg" for axis in "xy" for k in range(1, 6)]
    for axis, expected in (("x", 3), ("y", -2)):
        gray = np.asarray(Image.open(tmp_path / f"out/moving/flow_{axis}_00002.jpg"))
        assert gray.shape == (96, 128)
        assert np.median(from_gray(gray, 20)[20:-20, 20:-20]) == pytest.approx(expected, abs=0.3)


def test_raft_takes_any_size_and_a_file_of_weights(tmp_path: Path, videos: Path) -> None:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "raft.pth")
    short = tmp_path / "short.mp4"
    write_video(short, size=(70, 46), times=range(3))
    options = FlowOptions(
        source=short, output=tmp_path / "out", method="raft_small", weights=str(tmp_path / "raft.pth"), short_side=0,
        device="cpu", workers=1,
    )  # fmt: skip
    assert prepare_flow(options).done == 1
    with Image.open(tmp_path / "out/short/flow_x_00001.jpg") as image:
        assert image.size == (70, 46)
    wrong = replace(options, output=tmp_path / "other", method="raft_large")
    with pytest.raises(UserError, match="not weights of torchvision's raft_large"):
        prepare_flow(wrong)


def test_frames_of_a_list_go_where_the_list_says(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("jump/a.mp4 4\nrun/c.mp4 7\n")
    prepare_frames(
        FramesOptions(source=tmp_path / "list.txt", output=tmp_path / "out", short_side=0, root=str(videos), workers=1)
    )
    assert (tmp_path / "out/frames.csv").read_text() == "path,frames,label\njump/a,60,4\nrun/c,60,7\n"
    assert len(open_video(str(videos / "jump/a.mp4"))) == FRAMES


def test_a_video_of_a_list_may_have_several_labels(videos: Path, tmp_path: Path) -> None:
    (videos / "list.txt").write_text("jump/a.mp4 3 0\nrun/c.mp4 1\n")
    output = tmp_path / "out"
    options = FramesOptions(source=videos / "list.txt", output=output, short_side=16, labels="multi", workers=1)
    assert prepare_frames(options).exit_code == 0
    index = read_index(output / "frames.csv", kind="rawframes", labels="multi")
    assert [(index.path(i), index.num_frames(i), index.label_set(i)) for i in range(2)] == [
        (f"{output}/jump/a", FRAMES, (3, 0)),
        (f"{output}/run/c", FRAMES, (1,)),
    ]
