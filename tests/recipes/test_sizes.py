"""The sizes kept in the package are those of the networks; `python -m kinema.recipes.sizes` writes them."""

import pytest

from kinema.recipes import RECIPES, find_recipe
from kinema.recipes.sizes import measure_size, read_sizes

_OF_MODULE = {RECIPES[name].module: name for name in RECIPES if "small" in name and "net" not in name}
SMALL = [*_OF_MODULE.values()]
"""A small recipe of each family."""


def test_every_recipe_is_listed_in_order() -> None:
    assert [*read_sizes()] == [*RECIPES]


@pytest.mark.parametrize("name", SMALL)
def test_sizes_of_small_recipes(name: str) -> None:
    assert read_sizes()[name] == measure_size(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*RECIPES} - {*SMALL}))
def test_sizes_of_the_others(name: str) -> None:
    assert read_sizes()[name] == measure_size(name)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in SMALL])
def test_inputs_of_the_others(name: str) -> None:
    """Clips as the recipes have them now, without a forward pass."""
    stages = find_recipe(name)().stages().values()
    shapes = [stage.task.input_shape(stage) for stage in stages]
    assert read_sizes()[name].clip == " + ".join("×".join(map(str, shape[-3:])) for shape in shapes)
