"""Files and folders are replaced whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinema.storage import readable_folder, recover_folder, remove_leftovers, replacing, replacing_folder, write_text


def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("new, but")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_has_the_permissions_of_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "replaced", "")
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failing_block_leaves_the_old_folder_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    with replacing_folder(folder) as new:
        (new / "weights").write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing_folder(folder) as new:  # noqa: PT012
        (new / "weights").write_text("ne")
        raise OSError("disk full")
    assert (folder / "weights").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_the_new_folder_holds_nothing_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    for name in ("first", "second"):
        with replacing_folder(folder) as new:
            (new / name).touch()
    assert [file.name for file in folder.iterdir()] == ["second"]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_crash_between_the_renames_is_settled(tmp_path: Path, replaced: bool) -> None:
    """A process dies in the instant in which the old folder has gone and the new one is not there yet, or is."""
    folder = tmp_path / "last"
    with replacing_folder(folder) as new:
        (new / "whose").write_text("old")
    code = f"""
import os
from pathlib import Path
from kinema.storage import replacing_folder
renames = iter(range(3))
rename = Path.rename
def dying(self, target):
    rename(self, target)
    if next(renames) == {int(replaced)}:
        os._exit(9)
Path.rename = dying
with replacing_folder(Path({str(folder)!r})) as new:
    (new / "whose").write_text("new")
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert (readable_folder(folder) / "whose").read_text() == ("new" if replaced else "old")
    assert recover_folder(folder) == folder
    assert (folder / "whose").read_text() == ("new" if replaced else "old")
    remove_leftovers([folder])
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("suffix", ["old", "new", "tmp", "part", "partial", "bak"])
def test_files_of_the_user_beside_an_output_stay(tmp_path: Path, suffix: str) -> None:
    """Folders and files whose names are those of the output and more, also such as temporary files often have."""
    folder, file = tmp_path / "best", tmp_path / "a.txt"
    own = [tmp_path / f"best.{suffix}" / "x", tmp_path / f".best.{suffix}" / "x", tmp_path / f"best~.{suffix}" / "x"]
    own += [
        tmp_path / name for name in (f"a.txt.{suffix}", f".a.txt.{suffix}", f".a.abcdefgh.{suffix}", ".a.1234abcd.txt")
    ]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    for number in range(2):
        with replacing_folder(folder) as new:
            (new / "weights").write_text(str(number))
        write_text(file, str(number))
        recover_folder(folder)
        remove_leftovers([folder, file])
    assert all(path.read_text() == "mine" for path in own)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.relative_to(tmp_path).parts[0] for path in [*own, folder, file]
    }


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "動画" * 41 + ".mp4", "a." + "s" * 200])
def test_names_as_long_as_file_systems_allow(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "file")
    assert (tmp_path / name).read_text() == "file"
    (tmp_path / name).unlink()
    for text in ("one", "two"):
        with replacing_folder(tmp_path / name) as new:
            (new / "inside").write_text(text)
    assert (tmp_path / name / "inside").read_text() == "two"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_are_those_of_new_files_whoever_writes_them(tmp_path: Path, umask: int) -> None:
    """safetensors makes its files private, tempfile too."""
    before = os.umask(umask)
    try:
        with replacing_folder(tmp_path / "best") as new:
            save_file({"w": torch.zeros(3)}, new / "model.safetensors")
        with replacing(tmp_path / "w.safetensors") as temporary:
            save_file({"w": torch.zeros(3)}, temporary)
    finally:
        os.umask(before)
    for file in (tmp_path / "best" / "model.safetensors", tmp_path / "w.safetensors"):
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "best").stat().st_mode & 0o777 == 0o777 & ~umask


def test_what_is_written_to_a_pipe_or_a_device_goes_into_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        write_text(pipe, "through")
        assert read.result(10) == "through"
    assert list(tmp_path.iterdir()) == [pipe]
    write_text(Path("/dev/null"), "gone")
    assert Path("/dev/null").is_char_device()


def test_a_link_to_a_folder_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights").write_text("other")
    (tmp_path / "best").symlink_to("other")
    for _ in range(2):
        with replacing_folder(tmp_path / "best") as new:
            (new / "weights").write_text("new")
    assert (tmp_path / "other" / "weights").read_text() == "other"
    assert (tmp_path / "best" / "weights").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "other"]


def test_a_killed_writer_leaves_one_whole_folder(tmp_path: Path) -> None:
    """A process that replaces a folder of ten equal files again and again is killed many times, at any moment."""
    folder = tmp_path / "last"
    code = f"""
import itertools
from pathlib import Path
from kinema.storage import replacing_folder
for number in itertools.count():
    with replacing_folder(Path({str(folder)!r})) as new:
        for k in range(10):
            (new / str(k)).write_text(str(number))
    print(number, flush=True)
"""
    for patience in range(12):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(patience * 0.0007)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        contents = {(recover_folder(folder) / str(k)).read_text() for k in range(10)}
        assert len(contents) == 1


def test_the_current_folder_has_something_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run" / "inner")
    for path in (Path(), Path(".."), Path("/")):
        assert readable_folder(path) == path
        assert recover_folder(path) == path
    assert (tmp_path / "run" / "inner").is_dir()
