"""Faults in options, told by the table of the package; `python -m kinema.recipes.known_options` writes it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinema.api import evaluation_options
from kinema.config import apply
from kinema.errors import UserError
from kinema.recipes import RECIPES, find_recipe, known_options
from kinema.recipes.known_options import (
    KnownOptions,
    check_options,
    check_test_options,
    read_known_options,
    type_of,
)
from kinema.weights.find import find_model

RECIPE = "tsn_r18_video_1x1x8_small_rgb"
WRITE = "after a change of options, python -m kinema.recipes.known_options"


def types_of(table: KnownOptions) -> dict[str, dict[str, Any]]:
    return {name: {key: type_of(hint) for key, hint in table.of(name).items()} for name in table.recipes}


def test_the_table_is_of_the_recipes_as_they_are() -> None:
    kept, current = read_known_options(), known_options.known_options()
    assert [*kept.recipes] == [*RECIPES], WRITE
    assert types_of(kept) == types_of(current), WRITE
    assert (kept.fields, kept.modules, kept.former) == (current.fields, current.modules, current.former), WRITE


@pytest.mark.parametrize(
    "values",
    [
        {"modle.width": "8"},
        {"optim.lrr": "1", "data.trian": "videos"},
        {"schedule.epochs": "x"},
        {"schedule.epochs": True},
        {"data.val_fraction": "1.5", "model.cells": ["1", "x"]},
        {"data.train_clip": "x"},
        {"learning_rate": "0.1"},
    ],
)
def test_faults_are_those_of_the_config(values: dict[str, object]) -> None:
    with pytest.raises(UserError) as expected:
        apply(find_recipe(RECIPE)(), values)
    with pytest.raises(UserError) as found:
        check_options(RECIPE, values)
    assert str(found.value).splitlines() == str(expected.value).splitlines()


@pytest.mark.parametrize(
    "values",
    [
        {"optim.momentum": "0.9"},  # of another optimizer
        {"train_clip.crop.size": "112"},  # of an earlier version
        {"modle.width": "8", "optim.momentum": "0.9"},  # reported together
        {"schedule.epochs": "3", "model.cells": ["3", "0"]},  # do not go together
    ],
)
def test_what_needs_the_config_is_left_to_it(values: dict[str, object]) -> None:
    check_options(RECIPE, values)


@pytest.mark.parametrize("values", [{"data.vall": "1"}, {"task.average": "x", "data.val": "a", "runtime.devic": "1"}])
def test_faults_of_a_test_are_those_of_its_options(values: dict[str, object], tiny_run: Path) -> None:
    with pytest.raises(UserError) as expected:
        apply(evaluation_options(tiny_run), values)
    with pytest.raises(UserError) as found:
        check_test_options(find_model(tiny_run), values)
    assert str(found.value).splitlines() == str(expected.value).splitlines()


def test_a_model_of_other_options_is_not_checked(tiny_run: Path, tmp_path: Path) -> None:
    content = json.loads((find_model(tiny_run) / "model.json").read_text())
    content["data"]["of_another_version"] = 1
    (tmp_path / "model.json").write_text(json.dumps(content))
    check_test_options(tmp_path, {"data.vall": "1"})
    (tmp_path / "model.json").write_text("{}")
    check_test_options(tmp_path, {"data.vall": "1"})
    check_test_options(tmp_path / "model.json", {"data.vall": "1"})


@pytest.mark.parametrize("annotation", ["open", "typing.cast", "int.bit_length", "list[int]", "print('x')", "1 + 1"])
def test_other_names_are_no_types(annotation: str) -> None:
    with pytest.raises(ValueError, match="no type of an option"):
        type_of(annotation)


def test_a_table_of_other_fields_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    outdated = replace(read_known_options(), fields="of another version")
    monkeypatch.setattr(known_options, "read_known_options", lambda: outdated)
    check_options(RECIPE, {"modle.width": "8"})
