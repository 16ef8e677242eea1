"""A task and a network from a user's file: trained, resumed exactly, tested and used like Kinema's own."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from kinema import training
from kinema.cli import main
from kinema.data.readers.sources import open_video
from kinema.recipes import config_of
from kinema.training import InterruptedRun

OWN = Path(__file__).with_name("clip_regression.py")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The recipe in a file of its own folder."""
    (tmp_path / "code").mkdir()
    return f"{shutil.copy(OWN, tmp_path / 'code')}:brightness"


@pytest.fixture
def lists(sample: Path, tmp_path: Path) -> list[str]:
    """Options that name videos and their brightness."""
    options = []
    for split in ("train", "val"):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "value"])
            for path in sorted((sample / split).rglob("*.mp4")):
                writer.writerow([path, float(open_video(str(path), path=str(path)).frames([0]).float().mean()) / 255])
        options += [f"--data.{split}", str(tmp_path / f"{split}.csv")]
    return options


def rows(run: Path) -> list[dict[str, float]]:
    kept = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if not key.endswith(("_time", "_gib"))} for row in kept]


def train(recipe: str, run: Path, options: Sequence[str]) -> int:
    return main(["train", recipe, "--work-dir", str(run), *options])


def test_it_learns_and_is_tested_and_predicts(
    recipe: str, lists: list[str], sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, video = tmp_path / "run", next((sample / "val").rglob("*.mp4"))
    assert train(recipe, run, lists) == 0
    validated = [row["mae"] for row in rows(run) if row["split"] == "val"]
    assert validated[-1] < validated[0]
    capsys.readouterr()
    assert main(["test", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mae"] == pytest.approx(min(validated))
    assert main(["predict", str(run), str(video), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    truth = float(open_video(str(video), path=str(video)).frames([0]).float().mean()) / 255
    assert answer["predictions"][0]["score"] == pytest.approx(truth, abs=4 * validated[-1])
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "The task NumberTask describes neither data nor tests" in page
    assert "Loss" in page
    assert "All options" in page


class StopAt:
    """An observer that asks the run to stop, as Slurm does, after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, work_dir: Path, *, first_step: int) -> "StopAt":
        return self

    def on_step(self, row: dict[str, float]) -> None:
        if row["step"] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation(self, row: dict[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 8, 13])  # of 8 an epoch
def test_a_resumed_run_ends_with_the_same_bits(recipe: str, lists: list[str], tmp_path: Path, step: int) -> None:
    assert train(recipe, tmp_path / "whole", lists) == 0
    config = config_of(recipe, dict(zip([key.removeprefix("--") for key in lists[::2]], lists[1::2], strict=True)))
    with pytest.raises(InterruptedRun):
        training.train(config, work_dir=tmp_path / "parts", observers=[StopAt(step)])
    assert rows(tmp_path / "parts")[-1]["step"] < 32
    assert train(recipe, tmp_path / "parts", [*lists, "--resume"]) == 0
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    ours, theirs = (load_file(tmp_path / run / "checkpoints/last/model.safetensors") for run in ("whole", "parts"))
    assert all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.parametrize("beside", [True, False])
def test_code_that_comes_with_a_model_is_not_executed(
    recipe: str, lists: list[str], tmp_path: Path, beside: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(recipe, run, [*lists, "--schedule.epochs", "1"]) == 0
    best = run / "checkpoints" / "best"
    (best / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    described = json.loads((best / "model.json").read_text())
    described["architecture"] = f"{best / 'evil.py' if beside else 'evil.py'}:NumberNetOptions"
    (best / "model.json").write_text(json.dumps(described))
    capfd.readouterr()
    assert main(["test", str(best)]) == 2
    assert "executed only if asked for" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "executed").exists()


def test_where_the_file_has_moved_the_recipe_is_passed(
    recipe: str, lists: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(recipe, run, [*lists, "--schedule.epochs", "1"]) == 0
    described = json.loads((run / "checkpoints/best/model.json").read_text())
    assert described["task_name"].endswith("clip_regression.py:NumberTask")
    assert described["architecture"].endswith("clip_regression.py:NumberNetOptions")
    moved = shutil.move(tmp_path / "code", tmp_path / "elsewhere")
    assert main(["test", str(run)]) == 2
    assert "Pass the current path of its recipe" in " ".join(capfd.readouterr().err.split())
    assert main(["test", str(run), "--recipe", f"{moved}/clip_regression.py:brightness"]) == 0
