"""The recipe that is chosen for given videos."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from kinema.advice import ATTENTIVE, CELLS, LARGE, MOTION, PROBE, SMALL, Facts, advise, facts_of
from kinema.cli import main
from kinema.cli.arguments import split
from kinema.cli.train import Options
from kinema.recipes import config_of


def facts(**values: Any) -> Facts:
    own: dict[str, Any] = {"data": "my videos", "kind": "video", "videos": 300, "classes": 6, "per_class": (30, 50)}
    return Facts(**{**own, "frames": 60, "groups": 0, "device": "cpu", **values})


@pytest.mark.parametrize(
    ("values", "minutes", "seconds", "recipe", "option"),
    [
        ({}, 240, 0.1, CELLS, "--data.folds 5"),
        ({}, 0.1, 0.1, PROBE, "--data.folds 5"),
        ({"groups": 3}, 240, 0.1, CELLS, "--data.folds 3"),
        ({"groups": 2}, 240, 0.1, SMALL, "--data.folds 2"),
        ({"groups": 1}, 240, 0.1, SMALL, "--data.val-fraction 0.2"),
        ({"videos": 900, "per_class": (90, 150)}, 900, 0.1, SMALL, "--data.folds 5"),
        ({"videos": 900, "per_class": (90, 150)}, 20, 0.1, ATTENTIVE, "--data.folds 5"),
        ({"videos": 1500, "per_class": (30, 50)}, 240, 0.1, CELLS, "--data.val-fraction 0.2"),
        ({"videos": 50_000, "per_class": (400, 600), "device": "cuda"}, 9000, 0.001, LARGE, "--data.val-fraction 0.2"),
        ({"videos": 50_000, "per_class": (400, 600)}, 1500, 0.1, ATTENTIVE, "--data.val-fraction 0.2"),
        ({"kind": "rawframes"}, 240, 0.1, CELLS, "--data.source rawframes"),
    ],
)
def test_the_choice(values: dict[str, Any], minutes: float, seconds: float, recipe: str, option: str) -> None:
    advice = advise(facts(**values), minutes=minutes, seconds_of=lambda _: seconds)
    assert advice.recipe == recipe
    assert option in advice.command
    for command, named in ((advice.command, recipe), (advice.alternative, MOTION)):
        if command:
            own, keys = split(Options, shlex.split(command)[2:])
            assert own[0] == named
            assert config_of(named, keys).data.train == "my videos"  # type: ignore[union-attr]
    assert bool(advice.alternative) == (recipe == CELLS)


def test_reasons_say_what_was_too_slow_and_that_videos_are_short() -> None:
    videos = facts(frames=5, per_class=(100, 150))
    reasons = advise(videos, minutes=20, seconds_of=lambda _: 0.1).reasons
    # 300 videos x 12 epochs x 3 forward passes' time x 0.1 s x 5 folds
    assert f"{SMALL} would take about 90 minutes, more than the 20 minutes at hand" in reasons
    assert any("shorter than a clip" in reason for reason in reasons)


def test_facts_of_class_folders(sample: Path) -> None:
    found = facts_of(str(sample / "train"))
    assert (found.kind, found.videos, found.classes, found.per_class, found.groups) == ("video", 32, 8, (4, 4), 0)
    assert found.frames > 8


def test_the_command_prints_a_line_to_type(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--for", str(sample / "train"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["command"].startswith(f"kinema train {printed['recipe']} --data.train ")
    assert main(["recipes", "--for", "no such list"]) == 2
    assert "no file or folder" in capsys.readouterr().err
