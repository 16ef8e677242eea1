"""Folders, lists and videos at URLs: prepared as the same ones on the disk."""

import csv
import shutil
import threading
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from kinema.cli import main
from kinema.data.lists.annotations import read_index
from kinema.data.readers.sources import Opener
from kinema.errors import UserError
from kinema.prepare.sources import labeled_units, video_units
from kinema.storage import Direct
from tests.data.drawn_videos import write_video
from tests.storage.servers import WebProcess, free_port, s3_folder, web_server

VIDEOS = ["jump/a 2.mp4", "jump/a 10.mp4", "jump/deep/50%.mp4", "run & go/é#1.avi", "run & go/.hidden.mp4"]
LIST = ["jump/a 2.mp4,x", "jump/deep/50%.mp4,y", "run & go/cut.avi,x", "jump/a 10.mp4,z"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of small videos, of which one ends early, and a list of some of them."""
    folder = tmp_path_factory.mktemp("tree")
    for number, name in enumerate(VIDEOS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, times=range(6 + number))
    whole = (folder / "run & go/é#1.avi").read_bytes()
    (folder / "run & go/cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "list.csv").write_text("\n".join(["path,class", *LIST]) + "\n")
    # At a web server, names are those of URLs.
    (folder / "quoted.csv").write_text("\n".join(["path,class", *(quote(row, safe="/,") for row in LIST)]) + "\n")
    return folder


def list_at(url: str) -> str:
    return f"{url}/quoted.csv" if url.startswith("http") else f"{url}/list.csv"


def plain(path: str, root: str) -> str:
    """A path below `root`; names in URLs of a web server are decoded."""
    path = path.removeprefix(root).strip("/")
    return unquote(path) if root.startswith("http") else path


def table(file: Path) -> list[list[str]]:
    with file.open(newline="") as opened:
        return list(csv.reader(opened))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "failures.csv"
    }


def checked(dataset: str, root: str, folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of the report and of the clean list, with paths relative to `root`."""
    report, clean = folder / "check.csv", folder / "clean.csv"
    command = ["prepare", "check", dataset, "--report", str(report), "--clean", str(clean), "--workers", "1"]
    assert main(command) == 1
    return [[plain(path, root), *rest] for path, *rest in table(report)], [
        [plain(path, root), *rest] for path, *rest in table(clean)
    ]


def test_class_folders_are_checked(url: str, tree: Path, tmp_path: Path) -> None:
    """The clean list is one to train on, with the same videos and classes as the folder has, but the bad one."""
    here, there = (checked(root, root, tmp_path) for root in (str(tree), url))
    assert there == here
    assert [row[:2] for row in there[0]] == [["path", "what"], ["run & go/cut.avi", "bad"]]
    assert [row[0] for row in there[1]] == ["path", "jump/a 2.mp4", "jump/a 10.mp4", "jump/deep/50%.mp4",
                                            "run & go/é#1.avi"]  # fmt: skip
    listed, walked = read_index(tmp_path / "clean.csv", kind="video", root=url), read_index(url, kind="video")
    assert listed.class_names == walked.class_names == ("jump", "run & go")
    bad = [row for row in range(len(walked)) if "cut" in walked.path(row)]
    assert listed.paths() == [path for row, path in enumerate(walked.paths()) if row not in bad]
    opener = Opener(source="video", storage=Direct())
    assert [len(opener.open(path)) for path in listed.paths()] == [6, 7, 8, 9]


def test_lists_are_checked(url: str, tree: Path, tmp_path: Path) -> None:
    here, there = checked(str(tree / "list.csv"), str(tree), tmp_path), checked(list_at(url), url, tmp_path)
    assert there == here
    assert [row[:2] for row in there[0][1:]] == [["run & go/cut.avi", "bad"]]
    assert read_index(tmp_path / "clean.csv", kind="video", root=url).class_names == ("x", "y", "z")


def test_other_folders_and_single_videos_are_checked(url: str, tmp_path: Path) -> None:
    report = ["--report", str(tmp_path / "check.csv"), "--workers", "1"]
    assert main(["prepare", "check", f"{url}/jump/", *report]) == 0
    name = "jump/a%202.mp4?token=x" if url.startswith("http") else "jump/a 2.mp4"
    assert main(["prepare", "check", f"{url}/{name}", *report]) == 0


@pytest.mark.parametrize("verb", ["frames", "pack", "resize"])
def test_folders_are_converted(verb: str, url: str, tree: Path, tmp_path: Path) -> None:
    found = {}
    for name, root in (("here", str(tree)), ("there", url)):
        assert main(["prepare", verb, root, str(tmp_path / name), "--short-side", "32", "--workers", "1"]) == 1
        found[name] = files(tmp_path / name)
        ((bad, _),) = table(tmp_path / name / "failures.csv")[1:]
        assert plain(bad, root) == "run & go/cut.avi"
    assert found["there"] == found["here"]
    suffixes = {"frames": "/img_00006.jpg", "pack": ".pack", "resize": ".mp4"}
    assert {f"{Path(name).with_suffix('')}{suffixes[verb]}" for name in VIDEOS[:4]} <= found["there"].keys()
    assert ("frames.csv" in found["there"]) == (verb == "frames")


@pytest.mark.parametrize("verb", ["frames", "pack"])
def test_lists_are_converted(verb: str, url: str, tree: Path, tmp_path: Path) -> None:
    options = ["--short-side", "0", "--workers", "1"]
    for name, dataset in (("here", str(tree / "list.csv")), ("there", list_at(url))):
        assert main(["prepare", verb, dataset, str(tmp_path / name), *options]) == 1
    found = files(tmp_path / "there")
    assert found == files(tmp_path / "here")
    assert found["classes.txt"] == b"x\ny\nz\n"


def test_flow_of_a_video(url: str, tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    name = "jump/a%202.mp4?token=x" if url.startswith("http") else "jump/a 2.mp4"
    for folder, video in (("here", str(tree / "jump/a 2.mp4")), ("there", f"{url}/{name}")):
        assert main(["prepare", "flow", video, str(tmp_path / folder), "--short-side", "16", "--workers", "1"]) == 0
    found = files(tmp_path / "there")
    assert found == files(tmp_path / "here")
    assert len([name for name in found if name.startswith("a 2/flow_x_")]) == 5


@pytest.mark.parametrize("verb", ["check", "frames", "pack", "resize"])
@pytest.mark.parametrize("name", ["none", "none/", "none.mp4", "none.csv"])
def test_what_is_missing(
    name: str, verb: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", verb, f"{url}/{name}", *["out"] * (verb != "check")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kinema: ")
    assert f"'{url}/{name}'" in said
    assert "Traceback" not in said
    assert not [*tmp_path.iterdir()]


def test_outputs_are_local(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["check", url, "--report", url], ["check", url, "--clean", url], ["frames", url, url]):
        assert main(["prepare", *arguments]) == 2
        assert f"found the URL {url}; this must be a local path" in capsys.readouterr().err
    assert main(["prepare", "resize", list_at(url), str(tmp_path / "out")]) == 2
    assert f"'{list_at(url)}' is a list: pass the folder of the videos" in capsys.readouterr().err


def test_two_videos_with_the_same_output_are_refused(tmp_path: Path) -> None:
    for name in ("a b.mp4", "a b.avi"):
        (tmp_path / name).touch()
    with web_server(tmp_path) as web, pytest.raises(UserError, match=r"would both be written to '.*/out/a b': rename"):
        video_units(web.url, tmp_path / "out", suffix="")


@pytest.mark.parametrize("name", ["..%2F..%2Fa.mp4", "x/%2e%2e/%2e%2e/a.mp4", "%2Fa.mp4"])
def test_decoded_names_stay_within_the_output(name: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{name},0\n")
    with pytest.raises(UserError, match=r"is outside '.*': pass the folder"):
        labeled_units(tmp_path / "list.csv", tmp_path / "out", root="http://127.0.0.1/videos")


def test_folders_of_images(tree: Path, tmp_path: Path) -> None:
    """Of class folders, and a single one, which is the source itself."""
    frames, options = tmp_path / "frames", ["--kind", "rawframes", "--workers", "1"]
    assert main(["prepare", "frames", str(tree / "jump"), str(frames / "jump"), "--workers", "1"]) == 0
    (frames / "jump" / "frames.json").unlink()
    with s3_folder(frames, "frames") as url:
        for name, root in (("here", str(frames)), ("there", url)):
            assert main(["prepare", "pack", root, str(tmp_path / name), *options]) == 0
            assert main(["prepare", "pack", f"{root}/jump/a 2", str(tmp_path / name / "one"), *options]) == 0
    found = files(tmp_path / "there")
    assert found == files(tmp_path / "here")
    assert {"jump/a 2.pack", "jump/deep/50%.pack", "packed.csv", "one/a 2.pack"} <= found.keys()


def test_clean_lists_keep_blanks_of_names(tree: Path, tmp_path: Path) -> None:
    names = [" x/v", "y/ w ", "y/w"]
    assert main(["prepare", "frames", str(tree / "jump/a 2.mp4"), str(tmp_path / "frames"), "--workers", "1"]) == 0
    for name in names:
        shutil.copytree(tmp_path / "frames" / "a 2", tmp_path / "set" / name)
    clean = tmp_path / "clean.csv"
    with s3_folder(tmp_path / "set", "set") as url:
        options = ["--kind", "rawframes", "--report", str(tmp_path / "check.csv"), "--clean", str(clean)]
        assert main(["prepare", "check", url, *options, "--workers", "1"]) == 0
        index = read_index(clean, kind="rawframes", root=url)
        assert sorted(path.rstrip("/") for path in index.paths()) == [f"{url}/{name}" for name in names]
        assert [len(Opener(source="rawframes", storage=Direct()).open(path)) for path in index.paths()] == [6] * 3


@pytest.mark.parametrize(
    ("verb", "what"),
    [("check", "folder"), ("resize", "folder"), ("check", "video of a list"), ("frames", "video of a list")],
)
def test_a_server_that_comes_back(
    verb: str, what: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("path,label\na%202.mp4,0\n")
    output = ["--report", str(tmp_path / "check.csv")] if verb == "check" else [str(tmp_path / "out")]
    with WebProcess(tree / "jump") as server:
        source = [server.url] if what == "folder" else [str(tmp_path / "list.csv"), "--root", server.url]
        server.kill()
        timer = threading.Timer(1, server.start)
        timer.start()
        assert main(["prepare", verb, source[0], *output, *source[1:], "--workers", "1"]) == 0
        timer.join()
    said = capsys.readouterr().err
    assert said.count("does not answer") == said.count("answers again") == 1


@pytest.mark.parametrize("verb", ["check", "frames", "pack", "resize"])
def test_a_server_that_does_not_answer(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinema.data.patience.WITHOUT_OPTION", 0.1)
    monkeypatch.chdir(tmp_path)
    for name in ("", "/x.mp4", "/list.csv"):
        url = f"http://127.0.0.1:{free_port()}{name}"
        assert main(["prepare", verb, url, *["out"] * (verb != "check")]) == 75
        assert capsys.readouterr().err.count("did not answer for 0.1 s") == 1
    assert not [*tmp_path.iterdir()]
