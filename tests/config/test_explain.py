"""The help of a recipe's options, and what a run changed."""

import re
import shlex
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import Field

from kinema.config import apply, as_argument, changed, leaves, options_help, parse_arguments


@dataclass(kw_only=True)
class Base:
    """What every optimiser has."""

    lr: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Learning rate for a total batch of 64."""


@dataclass(kw_only=True)
class Sgd(Base):
    """Stochastic gradient descent.

    With momentum.
    """

    clip_grad: float | Literal["none"] = "none"
    """Largest norm of the gradient; a docstring that is longer than one line of the help, so that it is
    broken and set in anew, in whatever width the terminal has."""


@dataclass(kw_only=True)
class Step:
    milestones: tuple[float, ...] = (20.0, 40.0)
    """Epochs at which the rate falls."""


@dataclass(kw_only=True)
class Cosine:
    """Half a cosine."""

    floor: float = 0.0
    """Last rate."""


@dataclass(kw_only=True)
class Data:
    """What is read."""

    reader: Base = field(default_factory=Base)
    """Inner group."""
    root: str = "two words"
    """Folder, after an inner group."""
    size: tuple[int, int] = (224, 224)
    """Height and width in pixels."""


@dataclass(kw_only=True)
class Config:
    """Everything."""

    optim: Sgd = field(default_factory=Sgd)
    schedule: Step | Cosine = field(default_factory=Step)
    data: Data = field(default_factory=Data)
    """Videos and labels."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Arithmetic."""
    compile: bool = True
    undocumented: int = 3


def options(text: str) -> list[tuple[str, str]]:
    """The option lines as (arguments, allowed)."""
    return re.findall(r"^  (--\S+ .*?)  \((.*)\)$", text, re.MULTILINE)


def test_every_option_stands_once_as_the_arguments_that_set_it() -> None:
    config = apply(
        Config(), {"optim.lr": "0.5", "data.size": ["1", "2"], "schedule.milestones": "", "compile": "false"}
    )
    found = options(options_help(config, width=200))
    parsed = parse_arguments([token for arguments, _ in found for token in shlex.split(arguments)])
    assert set(parsed) == set(leaves(config))
    assert apply(Config(), parsed) == config


def test_what_is_allowed_and_what_it_means_stand_beside_each_option() -> None:
    allowed = {arguments.split()[0]: words for arguments, words in options(options_help(Config(), width=200))}
    assert allowed == {
        "--optim.lr": "a number above 0 and at most 1",
        "--optim.clip-grad": "a number or none",
        "--schedule.milestones": "a list, each a number",
        "--data.reader.lr": "a number above 0 and at most 1",
        "--data.root": "text",
        "--data.size": "2 values, each an integer",
        "--precision": "one of fp32, bf16",
        "--compile": "true or false",
        "--undocumented": "an integer",
    }


def test_docstrings_follow_their_options_in_the_order_of_the_fields() -> None:
    text = options_help(Config(), width=200)
    in_order = [
        "--precision",
        "Arithmetic.",
        "--compile",
        "--undocumented",
        "optim (Sgd): Stochastic gradient descent.\n",
        "--optim.lr",
        "Learning rate for a total batch of 64.",
        "--optim.clip-grad",
        "longer than one line of the help, so that it is broken and set in anew",
        "schedule (Step)\n",
        "--schedule.milestones",
        "Epochs at which the rate falls.",
        "data (Data): Videos and labels.",
        "--data.root",
        "Folder, after an inner group.",
        "--data.size",
        "Height and width in pixels.",
        "data.reader (Base): Inner group.",
        "--data.reader.lr",
    ]
    places = [text.index(part) for part in in_order]
    assert places == sorted(places)


def test_the_recipes_branch_of_a_union_is_the_one_explained() -> None:
    text = options_help(Config(schedule=Cosine()), width=100)
    assert "schedule (Cosine): Half a cosine." in text
    assert "--schedule.floor 0.0  (a number)" in text
    assert "milestones" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_keep_to_the_width(width: int) -> None:
    assert max(map(len, options_help(Config(), width=width).splitlines())) <= width


def test_changed_names_old_and_new() -> None:
    config = apply(Config(), {"optim.lr": "0.5", "data.size": ["224", "224"], "optim.clip_grad": "40"})
    assert changed(config, Config()) == {"optim.lr": (0.01, 0.5), "optim.clip_grad": ("none", 40.0)}
    assert changed(Config(), Config()) == {}


@pytest.mark.parametrize(
    ("value", "argument"),
    [(True, "true"), (0.1, "0.1"), (3, "3"), ((40, 80.5), "40 80.5"), ("a b", "'a b'"), ("none", "none"), ((), "''")],
)
def test_as_argument(value: object, argument: str) -> None:
    assert as_argument(value) == argument
