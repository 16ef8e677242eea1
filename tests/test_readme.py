"""What the README tells a newcomer to type is right."""

import re
import shlex
from pathlib import Path

import pytest

import kinema
from kinema.cli import COMMANDS, train
from kinema.cli.arguments import parse, split

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)).replace("\\\n", "")
LINES = [line.split("#")[0].strip() for line in BLOCKS.splitlines()]
TRAININGS = [line for line in LINES if "kinema train" in line]


def test_commands_exist() -> None:
    named = re.findall(r"\bkinema ([a-z]+)", "\n".join([*LINES, *re.findall(r"`(kinema .*?)`", README)]))
    assert set(named) <= {*COMMANDS, "predict"}
    assert {"train", "test", "predict", "prepare", "recipes"} <= set(named)


@pytest.mark.parametrize("line", TRAININGS)
def test_trainings_are_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_recipes.py").write_text(
        "from kinema.recipes.tsn import tsn_r50_1x1x3_100e_kinetics400_rgb as mine\n"
    )
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/config.yaml").write_text("recipe: my_recipes.py:mine\n")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line.replace("…", "").split("kinema train")[1])
    own, keys = split(train.Options, arguments)
    options = parse(train.Options, own, command="train")
    assert train.config_from(options, keys).recipe


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_python_lines_use_what_there_is() -> None:
    for name in re.findall(r"kinema\.(\w+)\(", README):
        assert callable(getattr(kinema, name))
