"""The files of docs/extending.md, trained and used as the page says."""

import importlib.util
import json
from pathlib import Path

import pytest

from kinema.cli import main
from tests.conftest import TINY, tiny_arguments
from tests.docs.commands import python_files

FEW = {key: value for key, value in TINY.items() if key.startswith(("training.", "schedule."))}
SMALL = ["--data.train-clip.crop.size=32", "--data.val-views.crops.size=32", "--data.val-views.crops.short-side=32"]


@pytest.fixture(autouse=True)
def pages_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in python_files("docs/extending.md").items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def shortened(sample: Path) -> list[str]:
    options = {key.replace("_", "-"): value for key, value in {**FEW, "schedule.epochs": "1"}.items()}
    return [
        "--data.train", str(sample / "train"), "--data.val", str(sample / "val"), "--data.workers=0",
        "--data.batch-size=4", *SMALL, *(f"--{key}={value}" for key, value in options.items()),
    ]  # fmt: skip


@pytest.mark.parametrize("recipe", ["my_recipes.py:tsm_wide", "my_network.py:tiny"])
def test_recipes_train_and_predict(recipe: str, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", recipe, "--work-dir", "run", *shortened(sample)]) == 0
    capsys.readouterr()
    video = next((sample / "val").rglob("*.mp4"))
    assert main(["predict", "run", str(video), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert sum(each["score"] for each in answer["predictions"]) <= 1 + 1e-6


def test_the_network_has_what_it_declares(sample: Path) -> None:
    options = [*shortened(sample), "--optim.layer-decay=0.5"]
    assert main(["train", "my_network.py:tiny", "--work-dir", "run", *options]) == 0
    assert main(["prepare", "features", "run", str(sample / "val" / "moving_left"), "--output", "features"]) == 0
    assert len(list(Path("features").glob("*.npy"))) == 2


def test_observers_receive_the_rows(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("my_training", "my_training.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = (argument.removeprefix("--").split("=", 1) for argument in tiny_arguments(sample))
    module.main({key.replace("-", "_"): value for key, value in given})
    printed = capsys.readouterr().out
    assert "from step 0 in runs/own" in printed
    rows = [json.loads(line) for line in Path("runs/own/metrics.jsonl").read_text().splitlines()]
    assert all(f"{row['step']} {row['loss']}" in printed for row in rows if row["split"] == "train")
    assert Path("runs/own/curves.png").exists()
