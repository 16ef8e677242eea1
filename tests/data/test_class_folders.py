"""Datasets that are a folder per class."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from kinema.data.kinds import MediaKind
from kinema.data.lists.annotations import check_labels, read_index
from kinema.data.lists.class_folders import natural_key
from kinema.data.lists.index import Index
from kinema.errors import UserError


def labelled(index: Index) -> list[tuple[str, int]]:
    return [(index.path(i), index.label(i)) for i in range(len(index))]


def fault(folder: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_index(folder, **({"kind": "video"} | options))
    return str(caught.value)


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_class_folders_of_videos(tmp_path: Path) -> None:
    touch(tmp_path, "c10/a.mp4", "c2/v10.AVI", "c2/v9.webm", "c2/deep/er/é x.mkv", "c2/notes.txt", "c2/.h.mp4")
    touch(tmp_path, ".cache/x.mp4", "c2/.trash/x.mp4", "list.csv")
    index = read_index(tmp_path, kind="video")
    assert index.class_names == ("c2", "c10")
    assert labelled(index) == [
        (f"{tmp_path}/c2/deep/er/é x.mkv", 0),
        (f"{tmp_path}/c2/v9.webm", 0),
        (f"{tmp_path}/c2/v10.AVI", 0),
        (f"{tmp_path}/c10/a.mp4", 1),
    ]
    assert read_index(tmp_path, kind="video", classes=["c10", "x", "c2"]).labels.tolist() == [2, 2, 2, 0]


def test_class_folders_of_rawframes(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2/1.jpg", "b/10/1.png", "b/10/2.png", "a/x/y/1.JPEG", "a/cover.jpg", "a/x/readme.md", "a/e/e.mp4"
    )
    index = read_index(tmp_path, kind="rawframes")
    assert labelled(index) == [(f"{tmp_path}/a/x/y", 0), (f"{tmp_path}/b/2", 1), (f"{tmp_path}/b/10", 1)]


CAMERAS = "mts MTS m2ts m2t vob asf mxf mpg mpeg 3gp 3g2 ts ogv wmv flv f4v divx mov qt dv mod tod rm"


def test_files_of_cameras_broadcast_and_discs_are_videos(tmp_path: Path) -> None:
    touch(tmp_path, *(f"c/{number}.{ending}" for number, ending in enumerate(CAMERAS.split())))
    touch(tmp_path, "c/cover.jpg", "c/sound.mp3", "c/sound.m4a", "c/a.srt", "c/._0.mts", "c/x.mp4.part", "c/mp4")
    names = [Path(path).name for path, _ in labelled(read_index(tmp_path, kind="video"))]
    assert names == [f"{number}.{ending}" for number, ending in enumerate(CAMERAS.split())]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path, "c/a.mp4", "c/deep/b.mp4")
    (tmp_path / "c/deep/up").symlink_to(tmp_path / "c")
    (tmp_path / "c/other").symlink_to(tmp_path)
    assert [Path(path).name for path, _ in labelled(read_index(tmp_path, kind="video"))] == ["a.mp4", "b.mp4"]


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "data/other/b.mp4")
    (tmp_path / "data/linked").symlink_to(tmp_path / "real")
    assert labelled(read_index(tmp_path / "data", kind="video"))[0] == (f"{tmp_path}/data/linked/a.mp4", 0)


def test_faulty_class_folders(tmp_path: Path) -> None:
    loose = touch(tmp_path / "loose", "a.mp4")
    assert "<class>/<video file>" in fault(loose)
    bare = touch(tmp_path / "bare", "run/a.mp4", "walk/b.txt", "sit/01/1.jpg")
    message = fault(bare)
    assert f"'{bare}/walk'" in message
    assert f"'{bare}/sit'" in message
    assert f"'{bare}/run'" not in message
    good = touch(tmp_path / "good", "runing/a.mp4")
    assert "'runing' is not one of the 2 known classes; did you mean 'running'?" in fault(
        good, classes=["running", "sit"]
    )
    assert "folder" in fault(good, where="fold=0")


@pytest.mark.parametrize(
    ("paths", "kind", "said"),
    [
        (["run/01/1.jpg", "sit/02/1.jpg"], "video", "('run' holds folders of images: pass --data.source rawframes)"),
        (["run/01.mp4", "sit/02.mp4"], "rawframes", "('run' holds video files: pass --data.source video)"),
        (["run/01.mp4", "sit/02.mp4"], "packed", "('run' holds video files: pass --data.source video)"),
        (["run/01.pack", "sit/02.pack"], "video", "('run' holds packed files: pass --data.source packed)"),
        (
            ["01/1.jpg", "02/1.jpg"],
            "rawframes",
            "2 class folder(s) .*('01' holds images, which make one video: .*label')",
        ),
        (["01/1.jpg", "02/1.jpg"], "video", "('01' holds images, .*, and need --data.source rawframes)"),
        (["1.jpg", "2.jpg"], "rawframes", "no class folders ('{}' holds images, which make one video"),
        (["1.mp4", "2.mp4"], "video", "no class folders ('{}' holds video files)"),
    ],
)
def test_folders_of_another_kind_or_without_classes(
    tmp_path: Path, paths: list[str], kind: MediaKind, said: str
) -> None:
    message = fault(touch(tmp_path, *paths), kind=kind)
    assert re.search(".*".join(map(re.escape, said.format(tmp_path).split(".*"))), message), message
    if "--data.source" in message:
        assert "--source" in fault(tmp_path, kind=kind, option="--source")


def test_labels_of_folders_out_of_range_name_the_video(tmp_path: Path) -> None:
    index = read_index(touch(tmp_path, "a/1.mp4", "b/2.mp4"), kind="video")
    with pytest.raises(UserError, match=f"label 1 of '{tmp_path}/b/2.mp4'"):
        check_labels(index, 1)


@pytest.mark.parametrize(
    ("found", "ordered"),
    [
        (["b10", "b9", "a", "b"], ["a", "b", "b9", "b10"]),
        (["10", "9", "009", "x"], ["009", "9", "10", "x"]),
        (["v1.10.2", "v1.9.30", "v1.9.4"], ["v1.9.4", "v1.9.30", "v1.10.2"]),
    ],
)
def test_natural_order(found: Sequence[str], ordered: Sequence[str]) -> None:
    assert sorted(found, key=natural_key) == ordered


def test_weizmann_rawframes(shared: Path) -> None:
    index = read_index(shared / "data/weizmann_rawframes", kind="rawframes")
    assert (len(index), len(index.class_names)) == (93, 10)
    assert sum(len(list(Path(index.path(i)).glob("*.jpg"))) for i in range(len(index))) == 1371
