"""Packed files made of videos and of folders of images, and a dataset of them read for training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.cli import main
from kinema.data.dataset import open_train_index
from kinema.data.lists.annotations import read_index
from kinema.data.options import DataOptions
from kinema.data.readers.packed import open_packed
from kinema.data.readers.rawframes import open_flow, open_rawframes
from kinema.data.readers.sources import open_video
from kinema.errors import UserError
from kinema.prepare.frames import prepare_frames
from kinema.prepare.options import FramesOptions, PackOptions
from kinema.prepare.pack import prepare_pack
from tests.data.drawn_videos import FRAMES, number_of, write_video
from tests.data.test_flow import write_flow


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, three videos."""
    folder = tmp_path_factory.mktemp("in")
    for place in ("jump/a.mp4", "jump/b.v2.mp4", "run/c.mp4"):
        (folder / place).parent.mkdir(exist_ok=True)
        write_video(folder / place, size=(96, 64))
    return folder


@pytest.mark.parametrize("every", [1, 7])
def test_frames_of_videos(videos: Path, tmp_path: Path, every: int) -> None:
    options = PackOptions(source=videos, output=tmp_path, short_side=48, quality=90, every=every, workers=1)
    assert prepare_pack(options).done == 3
    assert (tmp_path / "packed.csv").read_text().splitlines() == [
        "path,class", "jump/a.pack,jump", "jump/b.v2.pack,jump", "run/c.pack,run",
    ]  # fmt: skip
    assert (tmp_path / "classes.txt").read_text().split() == ["jump", "run"]
    for name in ("jump/a.pack", "run/c.pack"):
        packed = open_packed(str(tmp_path / name))
        frames = packed.frames(range(FRAMES))
        assert frames.shape == (FRAMES, 48, 72, 3)
        assert [number_of(frame) for frame in frames] == [k - k % every for k in range(FRAMES)]
        assert packed.fps == pytest.approx(open_video(str(videos / "jump/a.mp4")).fps)
    again = prepare_pack(options)
    assert (again.done, again.kept) == (0, 3)
    with pytest.raises(UserError, match="every"):
        prepare_pack(PackOptions(source=videos, output=tmp_path, short_side=48, quality=90, every=every + 1, workers=1))


def test_both_ways_to_training_read_the_same(videos: Path, tmp_path: Path) -> None:
    """By a list, and by the folder of class folders."""
    prepare_pack(PackOptions(source=videos, output=tmp_path, workers=1))
    by_list = read_index(tmp_path / "packed.csv", kind="packed")
    by_folder = open_train_index(DataOptions(train=str(tmp_path), source="packed"))
    assert [by_list.path(i) for i in range(3)] == [by_folder.path(i) for i in range(3)]
    assert by_list.labels.tolist() == by_folder.labels.tolist() == [0, 0, 1]


def test_images_of_folders_are_packed_byte_for_byte(videos: Path, tmp_path: Path) -> None:
    prepare_frames(FramesOptions(source=videos, output=tmp_path / "frames", short_side=0, workers=1))
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "frames/jump/a/img_00001.jpg", format="PNG")
    source = tmp_path / "frames/frames.csv"
    options = PackOptions(source=source, output=tmp_path / "packed", kind="rawframes", workers=1)
    assert prepare_pack(options).exit_code == 0
    for name in ("jump/a", "run/c"):
        packed = open_packed(str(tmp_path / f"packed/{name}.pack"))
        folder = open_rawframes(str(tmp_path / f"frames/{name}"))
        assert torch.equal(packed.frames(range(FRAMES)), folder.frames(range(FRAMES)))
        files = b"".join(path.read_bytes() for path in sorted((tmp_path / f"frames/{name}").iterdir()))
        assert (tmp_path / f"packed/{name}.pack").read_bytes().endswith(files)
    prepare_pack(replace(options, source=tmp_path / "frames", output=tmp_path / "small", short_side=32, every=2))
    frames = open_packed(str(tmp_path / "small/run/c.pack")).frames(range(0, FRAMES, 2))
    assert frames.shape == (FRAMES // 2, 32, 48, 3)
    assert [number_of(frame) for frame in frames] == list(range(0, FRAMES, 2))


@pytest.mark.parametrize("every", [1, 3])
def test_pairs_of_flow_are_packed_byte_for_byte(tmp_path: Path, every: int) -> None:
    """Also where they are larger than the short side of frames."""
    for name in ("left/a", "right/b.v2"):
        write_flow(tmp_path / "flow" / name, pairs=7, size=(300, 280))
    options = PackOptions(source=tmp_path / "flow", output=tmp_path / "packed", kind="flow", every=every, workers=1)
    assert prepare_pack(options).done == 2
    assert (tmp_path / "packed/packed.csv").read_text().splitlines()[1:] == [
        "left/a.pack,left",
        "right/b.v2.pack,right",
    ]
    packed, folder = (open_packed(str(tmp_path / "packed/left/a.pack")), open_flow(str(tmp_path / "flow/left/a")))
    order = [6, 0, 5, 5, 2]
    assert torch.equal(packed.frames(order), folder.frames([index - index % every for index in order]))
    assert (len(packed), packed.header.flow) == (7, True)
    kept = [f"flow_{axis}_{number + 1:05}.jpg" for number in range(0, 7, every) for axis in "xy"]
    files = b"".join((tmp_path / "flow/left/a" / name).read_bytes() for name in kept)
    assert (tmp_path / "packed/left/a.pack").read_bytes().endswith(files)


def test_flow_is_checked_in_folders_and_packed(tmp_path: Path) -> None:
    for number in range(3):
        write_flow(tmp_path / f"flow/still/v{number}")
    prepare_pack(PackOptions(source=tmp_path / "flow", output=tmp_path / "packed", kind="flow", workers=1))
    (tmp_path / "flow/still/v1/flow_y_00004.jpg").unlink()
    data = bytearray((tmp_path / "packed/still/v2.pack").read_bytes())
    data[-300:] = bytes(300)
    (tmp_path / "packed/still/v2.pack").write_bytes(data)
    for kind, place, bad, reason in (
        ("flow", "flow", "still/v1", "9 images of flow in x, 8 in y"),
        ("packed_flow", "packed", "still/v2.pack", "frame 8 in y"),
        ("packed", "packed", "still/v2.pack", "it holds optical flow"),
    ):
        report = tmp_path / f"{kind}.csv"
        assert main(["prepare", "check", str(tmp_path / place), "--kind", kind, "--workers", "1",
                     "--report", str(report)]) == 1  # fmt: skip
        lines = report.read_text().splitlines()[1:]
        assert len(lines) == (3 if kind == "packed" else 1)
        assert bad in lines[-1]
        assert reason in lines[-1]


def test_a_damaged_image_of_a_folder_is_reported(videos: Path, tmp_path: Path) -> None:
    prepare_frames(FramesOptions(source=videos, output=tmp_path / "frames", workers=1))
    (tmp_path / "frames/jump/a/img_00009.jpg").write_bytes(b"\xff\xd8 none")
    summary = prepare_pack(
        PackOptions(source=tmp_path / "frames", output=tmp_path / "packed", kind="rawframes", workers=1)
    )
    assert (summary.done, len(summary.failures)) == (2, 1)
    assert not list(tmp_path.glob("packed/jump/*a.*"))
    assert len((tmp_path / "packed/packed.csv").read_text().splitlines()) == 1 + 2


def test_the_command_and_its_faults(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "pack", str(videos), str(tmp_path / "out"), "--every", "8", "--workers", "1"]) == 0
    assert main(["prepare", "check", str(tmp_path / "out/packed.csv"), "--kind", "packed", "--workers", "1",
                 "--report", str(tmp_path / "check.csv")]) == 0  # fmt: skip
    (tmp_path / "out/jump/a.pack").write_bytes((tmp_path / "out/jump/a.pack").read_bytes()[:-9])
    assert main(["prepare", "check", str(tmp_path / "out"), "--kind", "packed", "--workers", "1",
                 "--report", str(tmp_path / "check.csv")]) == 1  # fmt: skip
    assert "cut off" in (tmp_path / "check.csv").read_text()
    capsys.readouterr()
    for arguments, message in (
        ([str(tmp_path / "none"), str(tmp_path / "new")], "no file or folder"),
        ([str(videos), str(tmp_path / "out"), "--quality", "101"], "at most 100"),
        ([str(videos), str(tmp_path / "out"), "--kind", "rawframes"], "folders of images"),
    ):
        assert main(["prepare", "pack", *arguments]) == 2
        assert message in capsys.readouterr().err.replace("\n", " ")
