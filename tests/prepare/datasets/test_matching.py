"""Videos found on a disk by the names that annotations list them under."""

from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets.matching import Video, Videos, plain
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import empty_files


def found(root: Path, listed: Listed, split: str = "train", folders: tuple[str, ...] = ()) -> str | None:
    video = Videos(root, "video", wanted=1).find(listed, split, {plain(name) for name in folders})  # type: ignore[arg-type]
    return video.path if video else None


def test_suffixes_hidden_files_and_links(tmp_path: Path) -> None:
    root = empty_files(tmp_path / "root", "a.v1.MP4", "deep/er/b.webm", "c.txt", ".d.mp4", ".e/f.mp4", "g")
    empty_files(tmp_path / "elsewhere", "h.avi")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    paths = {video.path for video in Videos(root, "video", wanted=0).all}
    assert paths == {"a.v1.MP4", "deep/er/b.webm", "link/h.avi"}
    assert found(root, Listed(names=("a.v1",))) == "a.v1.MP4"
    assert found(root, Listed(names=("a",))) is None
    assert found(root, Listed(names=("h", "b"))) == "link/h.avi"
    assert found(root, Listed(names=("x", "b"))) == "deep/er/b.webm"


def test_frames_are_counted_without_optical_flow(tmp_path: Path) -> None:
    names = ["img_00001.jpg", "img_00002.JPG", "flow_x_00001.jpg", "flow_x_00002.jpg", "flow_x_00003.jpg", "thumbs.db"]
    root = empty_files(tmp_path, *(f"class/v1/{name}" for name in names), "class/notes.txt", "class/v2/only.txt")
    assert Videos(root, "rawframes", wanted=0).all == [Video(path="class/v1", num_frames=2)]


@pytest.mark.parametrize(
    ("paths", "split", "expected"),
    [
        (("other/v.mp4", "Air_drumming/v.mp4"), "train", "Air_drumming/v.mp4"),
        (("val/air drumming/v.mp4", "train/air drumming/v.mp4"), "train", "train/air drumming/v.mp4"),
        (("val/air drumming/v.mp4", "train/air drumming/v.mp4"), "val", "val/air drumming/v.mp4"),
        (("videos_validation/v.mp4", "a/v.mp4"), "val", "videos_validation/v.mp4"),
        (("b/v.mp4", "a/v.mp4"), "train", "a/v.mp4"),
        (("abseiling/v.mp4",), "train", None),
        (("v.mp4",), "train", "v.mp4"),
    ],
)
def test_which_of_several_videos_of_one_name(
    tmp_path: Path, paths: tuple[str, ...], split: str, expected: str | None
) -> None:
    listed = Listed(names=("v",), folder="air drumming")
    root = empty_files(tmp_path, *paths)
    assert found(root, listed, split, ("air drumming", "abseiling")) == expected


def test_the_case_of_letters_decides_only_between_videos_that_are_there(tmp_path: Path) -> None:
    root = empty_files(tmp_path, "a/V1.mp4", "a/v1.mp4", "a/V2.mp4")
    assert found(root, Listed(names=("V1",))) == "a/V1.mp4"
    assert found(root, Listed(names=("v1",))) == "a/v1.mp4"
    assert found(root, Listed(names=("v2",))) == "a/V2.mp4"
    assert found(root, Listed(names=("v3", "v2"))) == "a/V2.mp4"


def test_clips_cut_at_other_seconds(tmp_path: Path) -> None:
    root = empty_files(tmp_path, "id_000003_000013.mp4", "two_1_2.mp4", "two_3_4.mp4")
    assert found(root, Listed(names=("id_000002_000012",), clip_of="id")) == "id_000003_000013.mp4"
    assert found(root, Listed(names=("id_000002_000012",))) is None


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--videos"):
        Videos(tmp_path / "none", "video", wanted=0)
