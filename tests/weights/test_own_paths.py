"""A run's own data is found from anywhere, and results on other data do not replace those on its own."""

import json
import shutil
from pathlib import Path

import pytest

from kinema.cli import main
from tests.conftest import tiny_arguments

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


@pytest.fixture(scope="module")
def project(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a model was trained with relative paths."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(sample, folder / "s")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = tiny_arguments(Path("s"), schedule__epochs="1")
        assert main(["train", RECIPE, "--work-dir", "run", *options]) == 0
    return folder


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    capsys.readouterr()
    assert main(["test", *arguments, "--json", "--data.workers", "0"]) == 0
    metrics: dict[str, float] = json.loads(capsys.readouterr().out)
    return metrics


def test_from_any_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    expected = measured(capsys, "run")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(project / "s/val/growing", tmp_path / "s/val/growing")  # a relative path would mean another folder
    assert measured(capsys, str(project / "run")) == expected
    # Moved together with its data, which the old folder no longer has.
    moved = tmp_path / "moved"
    shutil.copytree(project, moved)
    described = moved / "run/checkpoints/best/model.json"
    described.write_text(described.read_text().replace(json.dumps(str(project)), json.dumps(str(tmp_path / "gone"))))
    monkeypatch.chdir(moved)
    assert measured(capsys, "run") == expected


def test_a_path_that_is_nowhere_is_named_with_its_run(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project / "run", tmp_path / "run")
    described = tmp_path / "run/checkpoints/best/model.json"
    described.write_text(described.read_text().replace('"s/val"', '"gone/val"'))
    monkeypatch.chdir(tmp_path)
    assert main(["test", "run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "run was trained with --data.val gone/val, which exists neither in the working" in said
    assert str(tmp_path) in said


def test_other_data_needs_a_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    own = measured(capsys, "run", "--data.val", str(project / "s/../s/val"))  # its own data, written otherwise
    kept = {path.name: path.read_bytes() for path in Path("run/test").iterdir()}
    for other in (["--data.val", "s/train"], ["--data.val-where", "fold=1"], ["--data.root", "s"]):
        assert main(["test", "run", *other]) == 2
        said = capsys.readouterr().err
        assert f"{other[0]}: run/test is for results on the model's own data" in said
        assert "--work-dir" in said
    assert {path.name: path.read_bytes() for path in Path("run/test").iterdir()} == kept
    other = measured(capsys, "run", "--data.val", "s/train", "--work-dir", str(tmp_path / "train"))
    assert other["videos"] == 2 * own["videos"]
    assert json.loads((tmp_path / "train/data.json").read_text())["val"] == str(project / "s/train")


def test_a_model_without_own_data_keeps_its_first_results(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    model = tmp_path / "model"
    shutil.copytree("run/checkpoints/best", model)
    described = json.loads((model / "model.json").read_text())
    described["data"] |= {"train": "", "val": ""}
    (model / "model.json").write_text(json.dumps(described))
    first = measured(capsys, str(model), "--data.val", "s/val")
    assert main(["test", str(model), "--data.val", "s/train"]) == 2
    assert "results of a test on other data" in capsys.readouterr().err
    assert measured(capsys, str(model), "--data.val", str(project / "s/val")) == first
