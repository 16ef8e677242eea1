"""Folders below local paths, S3 and web addresses: the same tree as on the disk that they were made from."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_names import read_class_names
from kinema.data.lists.inputs import find_inputs
from kinema.errors import UserError
from kinema.prepare.sources import video_units
from kinema.storage import display_name, is_folder, parent, suffix, walk
from tests.storage.servers import s3_environment, s3_server, upload, web_server

FILES = ["top.txt", "a b/x 1.mp4", "a b/deep/er/y.mp4", "c/z.mp4", "c/.hidden.mp4"]


@pytest.fixture(scope="module", params=["disk", "s3", "http"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "list.csv").write_text("path,label\nc/z.mp4,c\n")
    (folder / "classes.txt").write_text("a b\nc\n")
    if request.param == "disk":
        yield str(folder)
    elif request.param == "http":
        with web_server(folder) as web:
            yield web.url
    else:
        with s3_server() as endpoint, pytest.MonkeyPatch.context() as environment:
            for name, value in s3_environment(endpoint).items():
                environment.setenv(name, value)
            upload(folder, endpoint, "tree/")
            yield "s3://bucket/tree"


def test_the_tree_below_a_folder(root: str) -> None:
    for start in (root, root + "/"):
        found = {f"{folder.removeprefix(root).strip('/')}/{name}" for folder, _, names in walk(start) for name in names}
        if root.startswith("http"):
            found = {name.replace("%20", " ") for name in found}
        visible = {*FILES, "list.csv", "classes.txt"} - {"c/.hidden.mp4"}
        assert found == {f"/{name}" if "/" not in name else name for name in visible}


def test_names_taken_out_are_not_entered(root: str) -> None:
    entered = []
    for folder, subfolders, _ in walk(root):
        entered.append(folder.removeprefix(root))
        subfolders[:] = [name for name in subfolders if name == "c"]
    assert entered == ["", "/c"]


def test_what_is_a_folder(root: str) -> None:
    assert is_folder(root)
    assert is_folder(f"{root}/c")
    assert not is_folder(f"{root}/list.csv")


def test_class_folders_lists_and_class_files(root: str) -> None:
    classes = read_class_names(f"{root}/classes.txt")
    assert classes == ("a b", "c")
    folders = read_index(root, kind="video")
    assert folders.class_names == classes
    space = "%20" if root.startswith("http") else " "
    names = [f"a{space}b/deep/er/y.mp4", f"a{space}b/x{space}1.mp4", "c/z.mp4"]
    assert [folders.path(row) for row in range(len(folders))] == [f"{root}/{name}" for name in names]
    assert folders.labels.tolist() == [0, 0, 1]
    listed = read_index(f"{root}/list.csv", kind="video", classes=classes)
    assert (listed.path(0), listed.label(0)) == (f"{root}/c/z.mp4", 1)


def test_a_list_that_is_not_there(root: str) -> None:
    with pytest.raises(UserError, match=r"no file or folder '.*/lists.csv'; did you mean 'list.csv'\?"):
        read_index(f"{root}/lists.csv", kind="video")


def test_a_folder_that_is_not_there(root: str) -> None:
    """Object storage has no folders: a prefix that no name has lists nothing."""
    with pytest.raises(UserError, match=r"no file or folder '.*/cc/'; did you mean 'c'\?"):
        read_index(f"{root}/cc/", kind="video")
    with pytest.raises(UserError, match=r"no file or folder '.*/cc/'; did you mean 'c'\?"):
        video_units(f"{root}/cc/", Path("out"), suffix="")
    with pytest.raises(UserError, match=r"no such video: .*/cc/; did you mean 'c'\?"):
        find_inputs([f"{root}/cc/"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o000)
    with pytest.raises(UserError, match="Permission denied"):
        read_index(tmp_path, kind="video")


@pytest.mark.parametrize(
    ("path", "name", "ending", "folder"),
    [
        ("a/b.MP4", "b.MP4", ".mp4", "a"),
        ("b", "b", "", "."),
        ("/b.x", "b.x", ".x", "/"),
        ("s3://bucket/a b/c%20.mp4", "c%20.mp4", ".mp4", "s3://bucket/a b"),
        ("https://host/a/b%20c.mp4?X=1/2#t", "b c.mp4", ".mp4", "https://host/a"),
        ("https://host/a/", "a", "", "https://host"),
    ],
)
def test_parts_of_paths(path: str, name: str, ending: str, folder: str) -> None:
    assert (display_name(path), suffix(path), parent(path)) == (name, ending, folder)
