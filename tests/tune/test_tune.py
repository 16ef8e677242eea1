"""Searches on the drawn sample: their space, their results, and that a killed one ends as one left alone."""

import csv
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.cli import train as train_command
from kinema.cli.arguments import parse, split
from kinema.config import leaves, read
from kinema.errors import UserError
from kinema.training.saving.record import read_rows
from kinema.training.task import Criterion
from tests.conftest import TINY, tiny_config
from tests.training.test_resume import ENVIRONMENT, RECIPE

optuna = pytest.importorskip("optuna")

from kinema.tune.space import Choice, Range, read_space  # noqa: E402
from kinema.tune.study import PruningObserver, best_value  # noqa: E402

SPACE = """
optim.lr: {low: 1e-3, high: 0.1, log: true}
task.label-smoothing: [0, 0.1]
schedule.warmup_epochs: {low: 0, high: 0.5}
model.shift_div: {low: 2, high: 8}
data.train_clip.crop.flip_pairs: [[], ["moving_left:moving_right"]]
"""


def arguments(sample: Path, folder: Path, *, trials: int, **options: str) -> list[str]:
    changes = {key.replace("__", "."): value for key, value in options.items()}
    keys = TINY | {"schedule.epochs": "1", "training.loggers": ""} | changes
    keys |= {"data.train": str(sample / "train"), "data.val": str(sample / "val")}
    keys.pop("schedule.warmup_epochs")
    (folder / "space.yaml").write_text(SPACE)
    own = ["tune", RECIPE, "--space", str(folder / "space.yaml"), "--work-dir", str(folder / "search")]
    own += ["--trials", str(trials), "--seed", "3", "--pruner", "none"]
    return [*own, *(f"--{key.replace('_', '-')}={value}" for key, value in keys.items())]


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "search" / "trials.csv").open()))


@pytest.fixture(scope="module")
def search(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    assert main(arguments(sample, folder, trials=3)) == 0
    return folder


def test_trials_are_runs_with_values_of_the_space(search: Path) -> None:
    rows = table(search)
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert {row["state"] for row in rows} == {"complete"}
    for row in rows:
        folder = search / "search" / "trials" / f"{int(row['trial']):03}"
        _, options = read(folder / "config.yaml")
        assert options["optim.lr"] == row["optim.lr"]
        assert 1e-3 <= float(row["optim.lr"]) <= 0.1
        assert 2 <= int(str(options["model.shift_div"])) <= 8
        assert options["data.train_clip.crop.flip_pairs"] in ([], ["moving_left:moving_right"])
        validations = read_rows(folder / "metrics.jsonl", "val")
        assert float(row["top1"]) == max(each["top1"] for each in validations)
    assert len({row["optim.lr"] for row in rows}) == 3
    kept = [path.parent.name for path in search.glob("search/trials/*/checkpoints")]
    best = max(rows, key=lambda row: float(row["top1"]))
    assert kept == [f"{int(best['trial']):03}"]


def test_the_command_of_the_best_trial_trains_it_again(
    search: Path, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table(search)
    assert main([*arguments(sample, search, trials=3), "--json"]) == 0  # nothing is left to do
    found = json.loads(capsys.readouterr().out)
    assert table(search) == before
    assert found["metric"] == "top1"
    assert found["best"]["value"] == max(float(row["top1"]) for row in before)
    kinema, train, *words = shlex.split(found["best"]["command"])
    assert (kinema, train) == ("kinema", "train")
    own, keys = split(train_command.Options, words)
    config = train_command.config_from(parse(train_command.Options, own, command="train"), keys)
    _, options = read(Path(found["best"]["folder"]) / "config.yaml")
    again = read_back(config, search)
    assert {key: again[key] for key in options if not key.startswith("runtime.")} == {
        key: value for key, value in options.items() if not key.startswith("runtime.")
    }


def read_back(config: object, folder: Path) -> dict[str, object]:
    from kinema.config import dump

    (folder / "again.yaml").write_text(dump(config, recipe=RECIPE))
    return read(folder / "again.yaml")[1]


def test_folds_are_refused_in_one_message(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(sample, tmp_path, trials=1, data__folds="2", data__val="")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("one division of the videos: pass --data.fold 0, or --data.val-fraction") == 1
    assert not (tmp_path / "search").exists()


def test_another_search_is_refused_in_its_folder(
    search: Path, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = arguments(sample, search, trials=3, optim__weight_decay="0.5")
    assert main(other) == 2
    assert "holds a search of another recipe, with other options" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_search_ends_as_one_left_alone(search: Path, sample: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kinema", *arguments(sample, tmp_path, trials=3, training__checkpoint_every="2")]
    for trial, lines in ((0, 3), (1, 2)):
        running = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        metrics = tmp_path / "search" / "trials" / f"{trial:03}" / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text().count("\n") >= lines):
            assert running.poll() is None
            time.sleep(0.005)
        running.kill()
        running.wait()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trial 1 goes on, which was interrupted" in done.stderr
    assert table(tmp_path) == table(search)


WORKER = """
import json, sys, time
from dataclasses import dataclass
from pathlib import Path
from kinema.training.task import Criterion
from kinema.tune.space import Range
from kinema.tune.study import Search, run_search

@dataclass(kw_only=True)
class Config:
    x: float = 0.5

def train(config, folder, observer):
    time.sleep(0.05)
    (folder / "metrics.jsonl").write_text(json.dumps({"split": "val", "step": 1, "loss": config.x}) + "\\n")
    print(folder.name, flush=True)

search = Search(
    config=Config(), space={"x": Range(low=0.0, high=1.0)}, criterion=Criterion("loss", lower=True),
    work_dir=Path(sys.argv[1]), trials=12, seed=0, pruner="none", keep_checkpoints=False, train=train,
)
run_search(search, {})
"""
"""A search whose trainings take no time, so that processes meet at its study."""


@pytest.mark.slow
def test_processes_that_start_together_share_the_trials(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    try:
        trained = [worker.communicate(timeout=900)[0].split() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(number for numbers in trained for number in numbers) == [f"{number:03}" for number in range(12)]


def test_a_trial_that_diverges_fails_and_the_search_goes_on(sample: Path, tmp_path: Path) -> None:
    words = arguments(sample, tmp_path, trials=4)
    (tmp_path / "space.yaml").write_text("optim.lr: [1e30, 0.01]\n")
    assert main(words) == 0
    rows = table(tmp_path)
    assert {row["state"] for row in rows if row["optim.lr"] == "0.01"} == {"complete"}
    failed = [row for row in rows if row["optim.lr"] == "1e+30"]
    assert failed
    assert all(row["state"] == "fail" and "training diverged" in row["reason"] for row in failed)


def test_faults_that_all_trials_have_are_said_at_once(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(sample, tmp_path, trials=2, training__precise_bn="0"), "--init", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    without = [word for word in arguments(sample, tmp_path, trials=2) if not word.startswith("--data.val=")]
    assert main(without) == 2
    assert "compares trials by their validation: pass --data.val" in capsys.readouterr().err


def test_all_faults_of_a_space_are_said_in_one_message(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(
        "optim.lrr: [0.1]\noptim.lr: {low: 0.1, hi: 1}\nschedule.epochs: [1, many]\n"
        "task.mixup: {low: 0, high: 1, log: true}\n"
        "task.average: {low: prob, high: score}\noptim.weight_decay: 3\ndata.batch_size: [2]\ntraining.seed: []\n"
        "model.dropout: {low: 0.5, high: 0.1}\ntask.cutmix: [1, 1.0]\n"
    )
    with pytest.raises(UserError) as found:
        read_space(tmp_path / "space.yaml", tiny_config(sample), given={"data.batch_size": "4"})
    message = str(found.value)
    for fault in (
        "10 faults",
        "--optim.lrr: no such option; did you mean '--optim.lr'",
        "--optim.lr: found 'hi'; did you mean 'high'?; expected a list of values, or {low: …, high: …, log: true}",
        "--schedule.epochs: found 'many'; allowed: an integer",
        "--task.mixup: low 0.0 has no logarithm",
        "--task.average: found 'prob' and 'score', which are no numbers",
        "--optim.weight-decay: found '3'; expected a list",
        "--data.batch-size: given on the command line, too (4)",
        "--training.seed: found an empty list",
        "--model.dropout: low 0.5 is not below high 0.1",
        "--task.cutmix: a value is listed twice",
    ):
        assert fault in message


def test_the_values_of_a_space_have_the_types_of_their_options(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    config = tiny_config(sample)
    space = read_space(tmp_path / "space.yaml", config, given={})
    assert space["optim.lr"] == Range(low=1e-3, high=0.1, log=True)
    assert space["task.label_smoothing"] == Choice(values=(0.0, 0.1))
    pairs = space["data.train_clip.crop.flip_pairs"]
    for trial in (
        optuna.trial.FixedTrial({key: f"{low}"}) for key, low in (("x", "''"), ("x", "moving_left:moving_right"))
    ):
        assert pairs.suggest(trial, "x") in ((), ("moving_left:moving_right",))
    study = optuna.create_study()
    for _ in range(20):
        trial = study.ask()
        steps = space["model.shift_div"].suggest(trial, "steps")
        assert isinstance(steps, int)
        assert 2 <= steps <= 8
        study.tell(trial, 0)
    assert set(space) <= set(leaves(config))


@pytest.mark.parametrize("lower", [False, True])
def test_a_trial_worse_than_the_median_is_given_up(lower: bool) -> None:
    criterion = Criterion("loss" if lower else "top1", lower=lower)
    study = optuna.create_study(
        direction="minimize" if lower else "maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=3)
    )
    for value in (0.4, 0.5, 0.6):
        trial = study.ask()
        observer = PruningObserver(trial, criterion)
        for step in (8, 16):
            observer.on_validation({"step": step, "epoch": step / 8, criterion.metric: value})
        study.tell(trial, value)
    worse, better = (0.55, 0.45) if lower else (0.45, 0.55)
    PruningObserver(study.ask(), criterion).on_validation({"step": 8, criterion.metric: better})
    with pytest.raises(optuna.TrialPruned):
        PruningObserver(study.ask(), criterion).on_validation({"step": 8, criterion.metric: worse})


def test_the_value_of_a_trial_is_its_best_validation(tmp_path: Path) -> None:
    rows = [{"split": "val", "step": step, "loss": loss} for step, loss in enumerate((3.0, None, 1.0, 2.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert best_value(tmp_path, Criterion("loss", lower=True)) == 1
    assert best_value(tmp_path, Criterion("loss")) == 3
    assert best_value(tmp_path, Criterion("top1")) is None
