"""What is offered to someone who types the name that an option has elsewhere."""

import pytest

from kinema.cli import train
from kinema.cli.arguments import split
from kinema.config import leaves, suggest
from kinema.config.suggestions import _CALLED_ELSEWHERE
from kinema.errors import UserError
from kinema.recipes import RECIPES, config_of, find_recipe

RECIPE = "slowfast_r50_video_4x16x1_256e_kinetics400_rgb"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("optim.learning_rate", "--optim.lr"),
        ("learning_rate", "--optim.lr"),
        ("optim.LearningRate", "--optim.lr"),
        ("optim.learnin_rate", "--optim.lr"),
        ("batch_size", "--data.batch-size"),
        ("batchsize", "--data.batch-size"),
        ("optim.batch_size", "--data.batch-size"),
        ("data.bs", "--data.batch-size"),
        ("epochs", "--schedule.epochs"),
        ("num_epochs", "--schedule.epochs"),
        ("training.max_epochs", "--schedule.epochs"),
        ("workers", "--data.workers"),
        ("num_workers", "--data.workers"),
        ("gpus", "--runtime.device"),
        ("device", "--runtime.device"),
        ("amp", "--runtime.precision"),
        ("wd", "--optim.weight-decay"),
        ("grad_clip", "--optim.clip-norm"),
        ("seed", "--training.seed"),
        ("gradient_accumulation_steps", "--training.accumulate"),
        ("data.data_root", "--data.root"),
        ("crop_size", "--data.train-clip.crop.size' or '--data.val-views.crops.size' or '--data.test-views.crops.size"),
        ("data.train_clip.sampling.stride", "--data.train-clip.sampling.frame-interval"),
        ("data.trian", "--data.train"),
    ],
)
def test_names_of_other_toolboxes(typed: str, offered: str) -> None:
    assert suggest(typed, leaves(config_of(RECIPE))) == f"; did you mean '{offered}'?"


def test_every_meaning_is_an_option_that_exists() -> None:
    known = {key.rpartition(".")[2] for recipe in RECIPES for key in leaves(config_of(recipe))}
    of_commands = {"config", "json", "output", "render", "resume", "top", "work_dir"}
    assert set(_CALLED_ELSEWHERE) - known == of_commands


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("--work-dri", "--work-dir"), ("--output", "--work-dir"), ("--load-from", "--init"), ("--confg", "--config")],
)
def test_options_of_the_command_itself(typed: str, offered: str) -> None:
    with pytest.raises(UserError, match=f"^{typed}: no such option; did you mean '{offered}'"):
        split(train.Options, ["tsm", typed, "x"])


@pytest.mark.parametrize("key", ["tem", "train_candidates"])
def test_keys_without_a_group_stay_keys(key: str) -> None:
    assert split(train.Options, [f"--{key}", "x"])[1] == {key: "x"}


def test_a_part_of_a_recipes_name_lists_those_that_have_it() -> None:
    with pytest.raises(UserError) as fault:
        find_recipe("tsm_small")
    fitting = [name for name in RECIPES if "tsm" in name and "small" in name]
    assert str(fault.value).splitlines()[1:] == [f"  {name}" for name in fitting]
    assert f"{len(fitting)} recipes" in str(fault.value)
    with pytest.raises(UserError) as fault:
        find_recipe("TSM")
    assert str(fault.value).count("\n  tsm_") >= 15
    with pytest.raises(UserError, match=r"did you mean 'bmn_64x50_small_feature'\?"):
        find_recipe("bmn_64x50")
