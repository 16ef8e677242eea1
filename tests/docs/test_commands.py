"""Every command of README and docs is one that Kinema understands: parsed, and its config built."""

import importlib
import json
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import kinema.cli
from kinema.cli import COMMANDS, arguments, main, train
from kinema.cli.prepare import DATASETS, SUBCOMMANDS
from kinema.config import apply, leaves
from kinema.recipes import RECIPES, config_of, recognizer_config_of
from kinema.tasks.timeline.options import CurveOptions
from kinema.training.task import EvaluationOptions
from tests.docs.commands import PAGES, ROOT, Line, inline_of, lines_of, python_files

LINES = [line for page in PAGES for line in lines_of(page)]
INLINE = [line for page in PAGES for line in inline_of(page)]
RECIPE = "tsm_r18_video_1x1x8_small_rgb"


class Parsed(BaseException):
    """A command's arguments were understood; it is not to be run."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have commands end when their arguments are understood, in a folder that has what they name."""
    keys: dict[str, object] = {}

    def split(options: type[Any], given: Sequence[str]) -> tuple[list[str], dict[str, object]]:
        own, found = arguments.split(options, given)
        keys.update(found)
        return own, dict(found)

    def parse(options: type[Any], given: Sequence[str], *, command: str) -> object:
        parsed = arguments.parse(options, given, command=command)
        match command.split():
            case ["train" | "submit"]:
                train.config_from(parsed, keys)
            case ["test" | "calibrate"]:
                apply(evaluation_options(), keys)
            case ["benchmark", "compare" | "suite" | "log"]:
                pass
            case _:
                recipe = getattr(parsed, "recipe", "") or next(iter(getattr(parsed, "recipes", ())), RECIPE)
                config_of(recipe, keys)
        raise Parsed

    for module in pkgutil.walk_packages(kinema.cli.__path__, "kinema.cli."):
        loaded = importlib.import_module(module.name)
        if module.name != "kinema.cli.arguments":
            for name, replacement in (("parse", parse), ("split", split)):
                if hasattr(loaded, name):
                    monkeypatch.setattr(loaded, name, replacement)
    for name, text in python_files("docs/extending.md").items():
        (tmp_path / name).write_text(text)
    with (tmp_path / "my_recipes.py").open("a") as file:
        file.write("from kinema.recipes.tsn import tsn_r50_1x1x3_100e_kinetics400_rgb as mine\n")
    for run in ("runs/mine", "runs/a"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.yaml").write_text("recipe: my_recipes.py:mine\n")
    monkeypatch.chdir(tmp_path)


def evaluation_options() -> EvaluationOptions:
    config = recognizer_config_of(RECIPE)
    return EvaluationOptions(data=config.data, task=config.task, runtime=config.runtime)


def name_of(line: Line) -> str:
    return f"{line.page}: {line.text[:60]}"


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("line", LINES, ids=name_of)
def test_blocks(line: Line) -> None:
    with pytest.raises(Parsed):
        main(line.arguments)


def is_whole(line: Line) -> bool:
    """Whether a command within a sentence is given with all that it needs, rather than only named."""
    words = line.arguments
    return len(words) > 2 and "|" not in line.text and not {"TOOL", "DATASET", "SUBCOMMAND", "--help"} & set(words)


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("line", [line for line in INLINE if is_whole(line)], ids=name_of)
def test_within_sentences(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(line.arguments)
    except Parsed:
        return
    said = capsys.readouterr().err
    assert code == 2
    # Of a command that is only named, what it needs is left out.
    assert "Missing from" in said or "no such option" not in said
    assert "Unrecognized" not in said


def test_names_of_commands() -> None:
    branches = {"prepare": {*SUBCOMMANDS, *DATASETS}}
    for name in ("evaluate", "benchmark"):
        branches[name] = {*importlib.import_module(f"kinema.cli.{name}").SUBCOMMANDS}
    for line in [*LINES, *INLINE]:
        command, *rest = line.arguments
        assert command in COMMANDS, line
        if command in branches and rest and not rest[0].isupper() and "|" not in rest[0]:
            assert rest[0] in branches[command], line


def test_options_that_pages_name() -> None:
    """`--group.option` in a sentence is an option of some recipe, or of score curves."""
    keys = {key for recipe in RECIPES for key in leaves(config_of(recipe))}
    keys |= {f"curve.{field.name}" for field in fields(CurveOptions)}
    known = {f"--{key.replace('_', '-')}" for key in keys}
    groups = {".".join(name.split(".")[: depth + 1]) for name in known for depth in range(name.count("."))}
    for page in PAGES:
        for name in re.findall(r"`(--[a-z-]+\.[a-z0-9.-]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert name.rstrip(".") in known | groups, f"{page}: {name}"


def test_json_blocks_are_json() -> None:
    for page in PAGES:
        for block in re.findall(r"^```json\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S):
            json.loads(block)
