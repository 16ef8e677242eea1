"""Which videos paths stand for, and that no output takes the place of another."""

from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.lists.inputs import Input, find_inputs, output_files, output_paths, short_names
from kinema.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(*paths: Path) -> list[tuple[str, str]]:
    return [(video.path, video.name) for video in find_inputs(paths)]


def test_a_picture_among_videos_is_no_video(tmp_path: Path) -> None:
    touch(tmp_path, "poster.jpg", *(f"{i}.mp4" for i in (1, 2, 10)), "deep/x.MOV", "notes.txt")
    names = ["1.mp4", "2.mp4", "10.mp4", "deep/x.MOV"]
    assert found(tmp_path) == [(str(tmp_path / name), name) for name in names]


def test_hidden_files_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "._a.mp4", ".trash/b.mp4", ".DS_Store")
    assert found(tmp_path) == [(str(tmp_path / "a.mp4"), "a.mp4")]
    assert found(tmp_path / "._a.mp4") == [(str(tmp_path / "._a.mp4"), "._a.mp4")]


def test_folders_of_images(tmp_path: Path) -> None:
    touch(tmp_path, "one/img_1.jpg", "one/img_2.jpg", "two/img_1.png", ".thumbs/x.jpg", "two/._img_1.png")
    assert found(tmp_path / "one") == [(str(tmp_path / "one"), "one")]
    assert found(tmp_path) == [(str(tmp_path / "one"), "one"), (str(tmp_path / "two"), "two")]
    assert [name for _, name in found(tmp_path / "one", tmp_path / "two")] == ["one", "two"]


def test_names_start_where_the_paths_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/01.mp4", "b/01.mp4")
    monkeypatch.chdir(tmp_path)
    assert found(Path("a/01.mp4"), Path("b/01.mp4")) == [("a/01.mp4", "a/01.mp4"), ("b/01.mp4", "b/01.mp4")]
    assert found(Path("a"), Path("b")) == [("a/01.mp4", "a/01.mp4"), ("b/01.mp4", "b/01.mp4")]
    assert found(Path("a/01.mp4")) == [("a/01.mp4", "01.mp4")]
    assert found(Path("a/01.mp4"), Path("../" + tmp_path.name), tmp_path / "b/../a/01.mp4") == [
        (str(tmp_path / "b/../a/01.mp4"), "a/01.mp4"),
        (f"../{tmp_path.name}/b/01.mp4", "b/01.mp4"),
    ]


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "videos/loop").symlink_to(tmp_path / "videos")
    (tmp_path / "videos/other").symlink_to(tmp_path / "elsewhere")
    assert [name for _, name in found(tmp_path / "videos")] == ["a.mp4", "other/b.mp4"]


@pytest.mark.parametrize("path", ["gone", "", "empty"])
def test_faults(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "empty/notes.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such video: gone|path is empty|neither videos"):
        find_inputs(["a.mp4", path])


def outputs(*names: str, suffix: str = ".mp4") -> list[str]:
    inputs = [Input(path=name, name=name) for name in names]
    return [str(path) for path in output_paths(inputs, Path("out"), suffix).values()]


def test_outputs_are_called_as_their_videos() -> None:
    assert outputs("a/01.mp4", "b/01.avi") == ["out/a/01.mp4", "out/b/01.mp4"]
    assert outputs("01.avi", "01.mp4", "02.mov") == ["out/01.avi.mp4", "out/01.mp4.mp4", "out/02.mp4"]
    assert outputs("clip.v1", "clip.v2", suffix=".png") == ["out/clip.v1.png", "out/clip.v2.png"]
    assert outputs("01.avi", "01.mp4", "01.avi.mkv") == ["out/01.avi_2.mp4", "out/01.mp4.mp4", "out/01.avi.mp4"]


parts = st.sampled_from(["01", "01.mp4", "01.avi", "01.mp4.mp4", "01.avi.mp4", "a", "a.v2", "01.mp4_2.mp4"])
names = st.sets(st.lists(parts, min_size=1, max_size=2).map("/".join), min_size=1, max_size=20)


@settings(deadline=None)
@given(names, st.sampled_from([".mp4", ".png"]))
def test_no_two_outputs_are_the_same(chosen: set[str], suffix: str) -> None:
    inputs = [Input(path=name, name=name) for name in sorted(chosen)]
    paths = output_paths(inputs, Path("out"), suffix)
    assert len(set(paths.values())) == len(inputs)
    assert all(path.suffix == suffix and path.is_relative_to("out") for path in paths.values())
    assert len(set(short_names(inputs).values())) == len(inputs)
    for video in inputs:
        assert PurePath(paths[video].relative_to("out")).parent == PurePath(video.name).parent


def test_results_are_named_as_ground_truths_name_videos() -> None:
    inputs = [Input(path=f"v/{name}", name=name) for name in ("a/01.mp4", "b/01.mp4", "b/02.mp4", "c/3.avi", "c/3.mp4")]
    assert list(short_names(inputs).values()) == ["a/01", "b/01", "02", "c/3.avi", "c/3.mp4"]


def test_no_output_replaces_a_video(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "link").symlink_to(tmp_path)
    inputs = find_inputs([tmp_path / "link"])
    with pytest.raises(UserError, match=r"--render: .*a\.mp4 would overwrite the video"):
        output_files(inputs, tmp_path, (".mp4",), option="--render")


@pytest.mark.parametrize("names", [("x.mp4", "x.avi"), ("x.avi", "x.mp4")])
def test_the_order_of_paths_is_kept(names: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert [name for _, name in found(*(tmp_path / name for name in names))] == list(names)
