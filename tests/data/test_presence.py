"""What a look at a few listed videos finds before a training or a test."""

import os
import re
from functools import partial
from pathlib import Path

import pytest

from kinema.data.dataset import open_train_index, open_val_index
from kinema.data.kinds import LabelMode, Source
from kinema.data.options import DataOptions
from kinema.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two videos, two folders of frames and two packed files in `videos`."""
    for name in ("a", "b c"):
        (tmp_path / "videos" / f"{name}.frames").mkdir(parents=True)
        (tmp_path / "videos" / f"{name}.frames/img_00001.jpg").touch()
        (tmp_path / "videos" / f"{name}.mp4").touch()
        (tmp_path / "videos" / f"{name}.pack").touch()
    (tmp_path / "lists").mkdir()
    return tmp_path


def fault(data: Path, text: str, source: Source = "video", labels: LabelMode = "single", root: str = "") -> str:
    file = data / "lists" / ("list.csv" if "," in text else "list.txt")
    file.write_text(text)
    messages = set()
    for reading in ("train", "val"):
        options = DataOptions(source=source, root=root, **{reading: str(file)})
        open_index = open_train_index if reading == "train" else partial(open_val_index, classes=("0", "1"))
        with pytest.raises(UserError) as caught:
            open_index(options, labels=labels)
        messages.add(str(caught.value))
    (message,) = messages
    return message


@pytest.mark.parametrize(
    ("text", "source", "root", "said"),
    [
        (
            "x.mp4 0\ny.mp4 1\n",
            "video",
            "",
            "x.mp4'; of 2 listed videos 2 were .* none .*: pass --data.root FOLDER",
        ),
        ("path,label\nx.mp4,0\ny.mp4,1\n", "video", "", "list.csv:2: no such file or folder"),
        ("videos/a.mp4 0\nvideos/b c.mp4 1\n", "video", "", "pass --data.root {}"),
        ("a.mp4 0\nb c.mp4 1\n", "video", "{}", "pass --data.root FOLDER"),
        ("old/a.mp4 0\nold/b c.mp4 1\n", "video", "{}/videos", "'{}/videos/a.mp4' exists: remove 'old/' from"),
        ("/no/a.mp4 0\n/no/b.mp4 1\n", "video", "", "these are absolute"),
        ("a.frames 1 0\nb c.frames 1 1\n", "video", "{}/videos", "need --data.source rawframes"),
        ("a.mp4 1 0\nb c.mp4 0 1\n", "video", "{}/videos", "need --task.labels multi"),
        ("a.frames 0\nb c.frames 1\n", "video", "{}/videos", "lists a folder, .*: pass --data.source rawframes"),
        ("path,label\na.mp4,0\nb c.mp4,1\n", "rawframes", "{}/videos", "lists a file, .*: pass --data.source video"),
        ("path,label\na.mp4,0\nb c.mp4,1\n", "flow", "{}/videos", "lists a file, .*: pass --data.source video"),
        ("path,label\na.pack,0\nb c.pack,1\n", "flow", "{}/videos", "pass --data.source packed_flow"),
        ("a.pack 0\nb c.pack 1\n", "video", "{}/videos", "pass --data.source packed"),
        ("a.mp4 0\nb c.mp4 1\n", "packed", "{}/videos", "pass --data.source video"),
        ("a.mp4 0\nb c.mp4 1\n", "rawframes", "{}/videos", "needs --data.source video"),
    ],
)
def test_lists_that_cannot_be_read_as_asked(data: Path, text: str, source: Source, root: str, said: str) -> None:
    message = fault(data, text, source, root=root.format(data))
    assert re.search(said.format(data), message.replace("\n", " ")), message


def test_links_to_nothing_are_missing(data: Path) -> None:
    (data / "lists/x.mp4").symlink_to(data / "gone")
    assert "no such file or folder" in fault(data, "x.mp4 0\n")


def test_from_another_folder_than_the_paths_start_from(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data / "videos")
    assert f"pass --data.root {os.fspath(data / 'videos')}" in fault(data, "a.mp4 0\n")


def test_one_video_that_is_there_is_enough(data: Path) -> None:
    file = data / "videos/list.txt"
    file.write_text("a.mp4 0\n" + "".join(f"{k}.mp4 1\n" for k in range(99)))
    assert len(open_train_index(DataOptions(train=str(file)))) == 100
    file.write_text("s3://bucket/x.mp4 0\nhttp://localhost:1/y.mp4 1\n")
    assert len(open_train_index(DataOptions(train=str(file)))) == 2
