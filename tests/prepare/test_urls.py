"""Lists whose videos are at a URL: checked and converted as those on the disk."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.errors import UserError
from kinema.prepare.sources import labeled_units
from tests.data.drawn_videos import write_video
from tests.storage.servers import s3_folder, upload, web_server


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos, one that ends early, and a list of them, in which a fourth is missing."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "jump").mkdir()
    write_video(folder / "jump" / "a.mp4", times=range(8))
    write_video(folder / "jump" / "b c.avi", times=range(8))
    whole = (folder / "jump" / "b c.avi").read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    lines = ["path,class", "jump/a.mp4,x", "jump/b c.avi,y", "cut.avi,x", "none.mp4,x"]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def bucket(videos: Path) -> Iterator[str]:
    """The same videos in object storage."""
    with s3_folder(videos, "some/videos") as url:
        yield url


def check(list_: Path, root: str, folder: Path) -> tuple[list[list[str]], str]:
    """The rows of the report, without the root, and the clean list."""
    report, clean = folder / "check.csv", folder / "clean.csv"
    options = ["--report", str(report), "--clean", str(clean), "--workers", "1"]
    assert main(["prepare", "check", str(list_), "--root", root, *options]) == 1
    with report.open(newline="") as file:
        return [[path.removeprefix(root), *rest] for path, *rest in csv.reader(file)], clean.read_text()


def test_check(videos: Path, bucket: str, tmp_path: Path) -> None:
    (here, clean), (there, other) = (check(videos / "list.csv", root, tmp_path) for root in (str(videos), bucket))
    assert [row[:2] for row in there] == [["path", "what"], ["/cut.avi", "bad"], ["/none.mp4", "bad"]]
    assert there[1] == here[1]
    assert "o such file" in there[2][2] or "not exist" in there[2][2]
    assert clean == other == "path,class\njump/a.mp4,x\njump/b c.avi,y\n"


def files(folder: Path) -> dict[str, bytes]:
    hidden = ("failures.csv", ".")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(hidden)
    }


@pytest.mark.parametrize("verb", ["frames", "pack"])
def test_conversion(verb: str, videos: Path, bucket: str, tmp_path: Path) -> None:
    found = []
    for name, root in (("here", str(videos)), ("there", bucket)):
        options = ["--root", root, "--short-side", "0", "--workers", "1"]
        assert main(["prepare", verb, str(videos / "list.csv"), str(tmp_path / name), *options]) == 1
        found.append(files(tmp_path / name))
        with (tmp_path / name / "failures.csv").open(newline="") as file:
            assert [row[0].removeprefix(root) for row in csv.reader(file)][-1] == "/none.mp4"
    assert found[0] == found[1]
    assert any(name.startswith("jump/b c") for name in found[0])


@pytest.mark.slow
def test_folders_of_images(videos: Path, bucket: str, tmp_path: Path) -> None:
    """Extracted frames, in object storage, are checked and packed."""
    frames = tmp_path / "frames"
    assert main(["prepare", "frames", str(videos / "jump"), str(frames), "--workers", "1"]) == 0
    (tmp_path / "list.txt").write_text("a 8 0\nb c 9 1\n")
    upload(frames, os.environ["AWS_ENDPOINT_URL"], "frames/")
    root = ["--root", "s3://bucket/frames", "--kind", "rawframes", "--workers", "1"]
    report = tmp_path / "check.csv"
    assert main(["prepare", "check", str(tmp_path / "list.txt"), "--report", str(report), *root]) == 1
    assert report.read_text().splitlines()[1:] == ["s3://bucket/frames/b c,frames,8,9"]
    assert main(["prepare", "pack", str(tmp_path / "list.txt"), str(tmp_path / "packed"), *root]) == 0
    assert sorted(path.name for path in (tmp_path / "packed").glob("*.pack")) == ["a.pack", "b c.pack"]


def test_files_of_a_web_server(videos: Path, tmp_path: Path) -> None:
    """Names in URLs are decoded for outputs, and tokens are no part of them, nor of reports."""
    served = tmp_path / "served"
    shutil.copytree(videos, served)
    (tmp_path / "list.txt").write_text("jump/b%20c.avi?token=t0kenvalue 0\ncut.avi?token=t0kenvalue 1\n")
    with web_server(served) as web:
        command = ["prepare", "frames", str(tmp_path / "list.txt"), str(tmp_path / "out"), "--root", web.url]
        assert main([*command, "--workers", "1"]) == 1
        report = ["--report", str(tmp_path / "out" / "check.csv")]
        assert main(["prepare", "check", *command[2:3], *command[4:], *report, "--workers", "1"]) == 1
    assert len([*(tmp_path / "out" / "jump" / "b c").glob("*.jpg")]) == 8
    reports = [tmp_path / "out" / name for name in ("failures.csv", "check.csv")]
    assert all("cut.avi?token=…" in file.read_text() for file in reports)
    assert not [path for path in (tmp_path / "out").rglob("*.csv") if "t0kenvalue" in path.read_text()]


@pytest.mark.parametrize("path", ["../a.mp4", "b/../../a.mp4", "s3://other/a.mp4", "/a.mp4"])
def test_paths_outside_the_root(path: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{path},0\n")
    with pytest.raises(UserError, match=r"is outside '.*': pass the folder"):
        labeled_units(tmp_path / "list.csv", tmp_path / "out", root="s3://bucket/videos")
