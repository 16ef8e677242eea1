"""`kinema train RECIPE --help`: what is changed first, all options, and those about a word."""

import re

import pytest

from kinema.cli import main
from kinema.config import leaves, options_help
from kinema.recipes import config_of

RECIPE = "tsm_r18_video_1x1x8_small_rgb"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["train", RECIPE, *arguments]) == 0
    return capsys.readouterr().out


def named(text: str) -> list[str]:
    """Options that lines of the help begin with."""
    return re.findall(r"^  --(\S+)", text, re.MULTILINE)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_help_fits_a_screen_and_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    assert len(text.splitlines()) < 50
    assert max(map(len, text.splitlines())) <= 130
    assert {"data.train", "optim.lr", "schedule.epochs", "model.num-classes", "runtime.device"} <= {*named(text)}
    config = config_of(RECIPE)
    for group in ("model", "task", "data", "data.train-clip", "optim", "schedule", "training", "runtime"):
        (count,) = re.findall(rf"^  {group} \((\d+)\)", text, re.MULTILINE)
        prefix = group.replace("-", "_") + "."
        assert int(count) == sum(key.startswith(prefix) for key in leaves(config))
    assert "--help-all" in text


def test_help_all_is_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help-all")
    assert options_help(config_of(RECIPE)) in text
    assert len(named(text)) == len(leaves(config_of(RECIPE)))


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("lr", "optim.lr"),
        ("learning_rate", "optim.lr"),  # as other toolboxes call it
        ("optim.lr", "optim.lr"),
        ("schedule", "schedule.epochs"),
        ("batch-size", "data.batch-size"),
        ("memcached", "data.storage.memcached"),
    ],
)
def test_a_word_is_searched(word: str, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help", word)
    assert named(text)[0] == first
    assert len(named(text)) < 30


def test_a_group_lists_its_options_alone(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [key.replace("_", "-") for key in leaves(config_of(RECIPE)) if key.startswith("runtime.")]
    assert named(printed(capsys, "--help", "runtime")) == keys


def test_a_word_of_the_explanation_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help", "Mixup")
    assert named(text)[0] == "task.mixup"


def test_an_unknown_word_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", RECIPE, "--help", "epocs"]) == 2
    assert "did you mean 'epochs'?" in " ".join(capsys.readouterr().err.split())


def test_help_of_a_model_is_alike(tiny_run: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(tiny_run), "--help", "val-batch-size"]) == 0
    assert named(capsys.readouterr().out)[0] == "data.val-batch-size"
