"""What cannot be written is said before it is worked out."""

from pathlib import Path

import pytest

from kinema.cli import main
from kinema.errors import UserError
from kinema.storage.outputs import check_writable


@pytest.mark.parametrize(
    ("name", "reason"),
    [("file/x.json", "Not a directory|File exists"), ("folder", "it is a folder"), ("x" * 300 + "/x", "name too long")],
)
def test_what_cannot_be_written(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"cannot be written: .*({reason})"):
        check_writable(None, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_can_be_written_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    check_writable(tmp_path / "x", tmp_path / "new/y", Path("/dev/null"))
    assert (tmp_path / "x").read_text() == "x"
    assert not (tmp_path / "new").exists()  # nothing is left if the work fails


@pytest.mark.parametrize("option", ["--work-dir", "--dump"])
def test_a_test_is_not_begun_in_vain(
    option: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    options = {"--work-dir": str(tmp_path / "out"), option: str(tmp_path / "file/x")}
    assert main(["test", str(tiny_run), *(word for pair in options.items() for word in pair)]) == 2
    said = capsys.readouterr().err
    assert "file/x" in said
    assert "cannot be written" in said
    assert "model:" not in said


def test_a_checkpoint_for_another_tool(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tiny_run), "--to", "mmaction2", "--output", str(tmp_path)]) == 2
    assert f"{tmp_path} cannot be written: it is a folder" in capsys.readouterr().err
