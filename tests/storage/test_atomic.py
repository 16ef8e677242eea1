"""Files and folders are replaced whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinema.storage import replacing, replacing_folder, settled, write_text


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


@pytest.mark.parametrize("both", [True, False])
def test_a_crash_between_the_renames_is_settled(tmp_path: Path, both: bool) -> None:
    folder, old = tmp_path / "last", tmp_path / "last.old"
    for one in (old, folder) if both else (old,):
        one.mkdir()
        (one / "whose").write_text(one.name)
    assert settled(folder) == folder
    assert (folder / "whose").read_text() == ("last" if both else "last.old")
    assert not old.exists()


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
        contents = {(settled(folder) / str(k)).read_text() for k in range(10)}
        assert len(contents) == 1
