"""What was trained how: a file for each model family, a function for each recipe that returns a complete config.

`config_of(name)` returns it with options changed by dotted key.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.addresses import load_address
from kinema.config import apply, leaves
from kinema.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from kinema.tasks.recognition.options import RecognitionConfig
    from kinema.training import RecipeConfig

_RECOGNITION = (
    "tsn", "tsm", "i3d", "slowfast", "r2plus1d", "torchvision_models", "x3d", "s3d", "swin3d", "mvit",
    "videomae", "timesformer", "vjepa2", "sample",
)  # fmt: skip
_PRETRAINING = ("videomae_pretraining",)
_LOCALIZATION = ("bmn", "bsn", "actionformer", "tridet")
"""Modules of this folder, whose public functions without arguments are the recipes."""

_RENAMED = {
    "bsn_pgm_400x100_activitynet_feature": "kinema prepare candidates TEM --output FOLDER generates BSN's candidates",
}
"""Recipes of earlier versions, and what replaces them."""

_MOST_NAMED = 20


@dataclass(frozen=True)
class Recipe:
    """A function of a module in this folder, which is imported when it is called."""

    module: str
    name: str

    def __call__(self) -> "RecipeConfig":
        """Return the recipe's config."""
        config: RecipeConfig = getattr(import_module(f"kinema.recipes.{self.module}"), self.name)()
        return config


def _recipes(modules: tuple[str, ...]) -> dict[str, Recipe]:
    """Return the recipes of modules, whose source is read instead of imported: that would import torch."""
    sources = {module: Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8") for module in modules}
    return {
        name: Recipe(module, name)
        for module, source in sources.items()
        for name in re.findall(r"^def ([a-z]\w*)\(\)", source, re.MULTILINE)
    }


RECOGNIZERS, LOCALIZERS = _recipes(_RECOGNITION), _recipes(_LOCALIZATION)
PRETRAININGS = _recipes(_PRETRAINING)
RECIPES = {**RECOGNIZERS, **PRETRAININGS, **LOCALIZERS}


def config_of(name: str, values: Mapping[str, object] | None = None) -> "RecipeConfig":
    """Return the config of a recipe with the options `values` changed.

    Args:
        name: a name of `RECIPES`, or `my_file.py:function`.
        values: by dotted key, `data.batch_size` or `data.batch-size`, as text or as the option's type.

    Raises:
        UserError: there is no such recipe, or options are unknown or out of range.
    """
    from kinema.recipes.known_options import check_options

    recipe, values = find_recipe(name), {key.replace("-", "_"): value for key, value in (values or {}).items()}
    check_options(name, values)  # before the recipe imports torch
    config = recipe()
    own = {key: leaf.value for key, leaf in leaves(config).items()}  # checked too: a recipe is code, and may be wrong
    config.recipe = name
    return apply(apply(config, own), values)


def recognizer_config_of(name: str, values: Mapping[str, object] | None = None) -> "RecognitionConfig[Any]":
    """Return the config of a recipe that reads clips; see `config_of`.

    Raises:
        UserError: there is no such recipe, or it reads something else, or options are unknown or out of range.
    """
    # Said before options that such a recipe lacks. A function of the user is known by its config only.
    if name in LOCALIZERS or (name not in RECIPES and not _reads_clips(config_of(name))):
        raise UserError(f"the recipe {name} reads no clips; pass a recognizer's")
    return config_of(name, values)  # type: ignore[return-value]


def _reads_clips(config: "RecipeConfig") -> bool:
    return hasattr(getattr(config, "data", None), "train_clip")


def recognizers_of(network: str) -> "dict[str, RecognitionConfig[Any]]":
    """Return the configs of the recipes of a network, by name; `network` is one of `kinema.models.MODELS`."""
    from kinema.models import name_of

    configs = {name: recognizer_config_of(name) for name in RECOGNIZERS}
    return {name: config for name, config in configs.items() if name_of(config.model) == network}


def build_model(name: str, values: Mapping[str, object] | None = None) -> "nn.Module":
    """Return the network of a recipe with random weights.

    Args:
        name: recipe, or `my_file.py:function`.
        values: options to change, by dotted key: `{"model.num_classes": 10}`.

    Raises:
        UserError: there is no such recipe, it has several networks, or options are unknown or out of range.
    """
    from kinema.training.config import single_training

    module: nn.Module = single_training(config_of(name, values)).model.build()
    return module


def find_recipe(name: str) -> "Callable[[], RecipeConfig]":
    """Return the recipe called `name`, or the function at the address `my_file.py:function`.

    Raises:
        UserError: there is no such recipe; offers the nearest name.
    """
    if ":" in name:
        recipe: Callable[[], RecipeConfig] = load_address(name, what="recipe")
        return recipe
    if name in _RENAMED:
        raise UserError(f"'{name}' is no recipe any more: {_RENAMED[name]}")
    if name not in RECIPES:
        raise UserError(f"no recipe is called '{name}'{_nearest(name)}")
    return RECIPES[name]


def _nearest(name: str) -> str:
    """List the recipes whose names contain `name`, or all parts of it (tsm_small), or else offer the nearest one."""
    parts = [part for part in name.lower().split("_") if part]
    fitting = [recipe for recipe in RECIPES if parts and name.lower() in recipe]
    fitting = fitting or [recipe for recipe in RECIPES if parts and all(part in recipe for part in parts)]
    if len(fitting) > 1:
        lines = "".join(f"\n  {recipe}" for recipe in fitting[:_MOST_NAMED])
        further = f"\n  … `kinema recipes {parts[0]}` lists them all" if len(fitting) > _MOST_NAMED else ""
        return f"; {len(fitting)} recipes have it in their names:{lines}{further}"
    near = f"; did you mean '{fitting[0]}'?" if fitting else did_you_mean(name, RECIPES)
    return f"{near} (`kinema recipes` lists them all)"
