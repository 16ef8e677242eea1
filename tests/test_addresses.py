"""Classes and functions by address: of modules and of one's own files."""

from pathlib import Path

import pytest

from kinema.addresses import address_of, load_address
from kinema.config import options_from
from kinema.errors import UserError
from kinema.models import MODELS, name_of, options_class

FAMILY = """
from dataclasses import dataclass

from torch import nn


@dataclass(kw_only=True)
class MyOptions:
    width: int = 4

    def build(self) -> nn.Module:
        return nn.Linear(3, self.width)


def helper() -> int:
    return 7


constant = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_family.py"
    path.write_text(FAMILY)
    return path


def test_a_file_is_executed(file: Path) -> None:
    assert load_address(f"{file}:helper")() == 7


def test_a_module_is_imported() -> None:
    assert load_address("kinema.addresses:address_of") is address_of


def test_relative_and_absolute_paths_name_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert address_of(load_address("my_family.py:MyOptions")) == f"{file}:MyOptions"
    assert address_of(load_address(f"{file}:MyOptions")) == f"{file}:MyOptions"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere.py:x", "no file 'nowhere.py' to load a recipe from"),
        ("a/b:x", "no file 'a/b' to load a recipe from"),
        (":x", "no file '.' to load a recipe from"),
        ("no_such_package.part:x", "no module 'no_such_package.part' to load a recipe from"),
        ("kinema.addresses:adress_of", "has no recipe 'adress_of'; did you mean 'address_of'"),
        ("{file}:helpr", "has no recipe 'helpr'; did you mean 'helper'"),
        ("{file}:constant", "has no recipe 'constant'"),
        ("{text}:x", "is not a Python file"),
    ],
)
def test_faulty_addresses_are_named(file: Path, address: str, said: str) -> None:
    text = file.with_suffix(".txt")
    text.write_text(FAMILY)
    with pytest.raises(UserError) as error:
        load_address(address.format(file=file, text=text), what="recipe")
    assert said in str(error.value)


def test_options_of_an_own_network_are_found_by_address(file: Path) -> None:
    kind = options_class(f"{file}:MyOptions")
    options = kind(width=6)
    assert name_of(options) == f"{file}:MyOptions"
    assert options_from(options_class(name_of(options)), {"width": 6}, origin="test") == options
    assert sum(p.numel() for p in options.build().parameters()) == 3 * 6 + 6
    with pytest.raises(UserError, match="is no options class of a network"):
        options_class(f"{file}:helper")


@pytest.mark.parametrize("name", MODELS)
def test_every_name_of_the_table_is_its_options(name: str) -> None:
    assert name_of(options_class(name)()) == name
