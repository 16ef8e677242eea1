"""Training from given weights: whose options count."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kinema.api import train
from kinema.cli import main
from kinema.config import read
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.training.initial import with_init
from kinema.weights.model_files import save_model
from tests.conftest import TINY, tiny_arguments, tiny_config

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save a model of a recipe with random weights."""

    def save(recipe: str, **options: object) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        config: Any = config_of(recipe, {key.replace("__", "."): value for key, value in options.items()})
        save_model(folder, config.model.build().state_dict(), config.describe(("left", "right")))
        return folder

    return save


def test_the_network_is_the_models_and_the_training_the_recipes(
    saved: Callable[..., Path], sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey, spread = ["114", "115", "116"], ["57", "58", "59"]
    model = saved(RECIPE, model__width=8, model__mean=grey, model__std=spread, model__dropout=0.7)
    options = [text for text in tiny_arguments(sample, schedule__epochs="1") if not text.startswith("--model.width")]
    assert main(["train", RECIPE, "--init", str(model), "--work-dir", str(tmp_path / "run"), *options]) == 0
    values = read(tmp_path / "run/config.yaml")[1]
    assert (values["model.width"], values["model.mean"], values["model.std"]) == (
        "8",
        ["114.0", "115.0", "116.0"],
        ["57.0", "58.0", "59.0"],
    )
    assert (values["model.dropout"], values["model.num_classes"]) == ("0.0", "8")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "the network is that of" in line]
    assert line.endswith("--model.mean 114.0 115.0 116.0 --model.std 57.0 58.0 59.0 --model.width 8")


def test_the_weights_are_the_models(tiny_run: Path, sample: Path) -> None:
    config: Any = with_init(config_of(RECIPE, {"data.train": str(sample / "train"), "data.workers": 0}), tiny_run)
    from kinema.runtime.processes import Process

    task = config.task.open(config, Process(device=torch.device("cpu")))
    trained = load_file(tiny_run / "checkpoints/best/model.safetensors")
    assert all(torch.equal(value, trained[name]) for name, value in task.first_model().state_dict().items())


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("model__depth", "34", "--model.depth 34 (the model has 18)"),
        ("model__width", "16", "--model.width 16 (the model has 8)"),  # the recipe's own value, but asked for
        ("model__mean", "0 0 0", "--model.mean 0.0 0.0 0.0 (the model has 123.675 116.28 103.53)"),
    ],
)
def test_options_that_contradict_the_model_are_refused(
    tiny_run: Path, sample: Path, tmp_path: Path, option: str, value: str, fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [text for text in tiny_arguments(sample) if not text.startswith("--model.width")]
    own = [f"--{option.replace('__', '.')}", *value.split()]
    command = ["train", RECIPE, "--init", str(tiny_run), "--work-dir", str(tmp_path / "run"), *arguments, *own]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert "leave these out" in said
    assert not (tmp_path / "run").exists()


def test_options_that_agree_with_the_model_are_not(tiny_run: Path, sample: Path) -> None:
    config = tiny_config(sample, model__width="8")
    assert with_init(config, tiny_run, given=("model.width",)).model.width == 8  # type: ignore[union-attr]


def test_an_option_changed_in_python_counts_as_given(tiny_run: Path, sample: Path, tmp_path: Path) -> None:
    config = tiny_config(sample)
    config.model.width = 32
    with pytest.raises(UserError, match=r"--model.width 32 \(the model has 8\)"):
        train(config, work_dir=tmp_path / "run", init=tiny_run)


def test_another_network_is_refused(saved: Callable[..., Path], sample: Path) -> None:
    model = saved("tsn_r18_video_1x1x8_sample_rgb")
    with pytest.raises(UserError, match=r"is a model of the network 'tsn' .* trains the network 'tsm': pass a recipe"):
        with_init(tiny_config(sample), model)


def test_a_model_of_flow_is_refused_for_rgb(saved: Callable[..., Path]) -> None:
    model = saved("tsn_r50_1x1x3_110e_kinetics400_flow", model__depth=18, model__width=8)
    with pytest.raises(UserError, match="inputs of 2 channels, the recipe tsn_r50_1x1x3_100e_kinetics400_rgb reads 3"):
        with_init(config_of("tsn_r50_1x1x3_100e_kinetics400_rgb"), model)


@pytest.mark.parametrize("by_command", [True, False])
def test_a_run_is_resumed_without_the_model_that_it_began_with(
    tiny_run: Path, sample: Path, tmp_path: Path, *, by_command: bool
) -> None:
    model, work_dir = shutil.copytree(tiny_run / "checkpoints/best", tmp_path / "model"), tmp_path / "run"
    options = {key: value for key, value in TINY.items() if key != "model.width"}
    data = {"data.train": str(sample / "train"), "data.val": str(sample / "val"), "schedule.epochs": "1"}
    config = config_of(RECIPE, options | data)
    found = train(config, work_dir=work_dir, init=model)
    before = (work_dir / "config.yaml").read_text()
    shutil.rmtree(model)
    if by_command:
        assert main(["train", RECIPE, "--init", str(model), "--work-dir", str(work_dir), "--resume"]) == 0
    else:
        assert train(config, work_dir=work_dir, init=model, resume=True) == found
    assert (work_dir / "config.yaml").read_text() == before


def test_a_run_that_kept_its_own_options_beside_a_model_is_resumed(
    tiny_run: Path, saved: Callable[..., Path], sample: Path, tmp_path: Path
) -> None:
    """Earlier versions took over weights only, whatever the other options that they were trained with."""
    model, work_dir = saved(RECIPE, model__width=8, model__shift_div=8), shutil.copytree(tiny_run, tmp_path / "run")
    text = (work_dir / "config.yaml").read_text()
    (work_dir / "config.yaml").write_text(text.replace("init: ''", f"init: {model}"))
    assert main(["train", "--work-dir", str(work_dir), "--resume"]) == 0
    assert train(tiny_config(sample), work_dir=work_dir, init=model, resume=True)
    assert json.loads((work_dir / "checkpoints/last/model.json").read_text())["model"]["shift_div"] == 4
