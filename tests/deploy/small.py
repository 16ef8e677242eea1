"""Small models of recipes, in folders."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinema.models import name_of
from kinema.recipes import LOCALIZERS, RECOGNIZERS, config_of
from kinema.weights.model_files import OF_TRAINING, save_model
from tests.models.families import LARGE_INIT, SMALL_LOCALIZER, small_options
from tests.recipes.test_recipes import narrow

CLASSES = ("walking", "走る", "a label with spaces", "d", "e")
SIZE = 64


def _network(name: str) -> str:
    """The options of a recipe's network that change its graph."""
    model = narrow(name).model
    usual = {field.name: None for field in fields(model) if field.name in (*OF_TRAINING, "mean", "std")}
    options = {field.name: getattr(model, field.name) for field in fields(model)} | usual
    if options.get("depth") == 101:  # the blocks of 50
        options["depth"] = 50
    return f"{name_of(model)} {options}"


MODELS = [
    *{_network(name): name for name in RECOGNIZERS}.values(),
    *{
        name_of(config_of(name).model): name  # type: ignore[union-attr]
        for name in LOCALIZERS
        if hasattr(config_of(name), "model")
    }.values(),
]
"""Recipes with different networks."""


def small_config(name: str) -> Any:
    if name not in RECOGNIZERS:
        return _localizer(config_of(name))
    config = narrow(name)
    config.model = replace(config.model, num_classes=len(CLASSES), init_std=LARGE_INIT)
    crops = config.data.test_views.crops
    config.data.test_views.crops = replace(crops, size=SIZE, short_side=SIZE + 8)
    if (frames := getattr(config.model, "frames", None)) and config.data.test_views.sampling.frames % frames:
        config.model = replace(config.model, frames=config.data.test_views.sampling.frames)
    return config


def _localizer(config: Any) -> Any:
    if name_of(config.model) not in ("bmn", "tem", "pem"):
        config.data.max_length = 64
        config.data.parts = min(config.data.parts, 64)
    elif hasattr(config.data, "parts"):
        config.data.parts = SMALL_LOCALIZER["parts"]
    config.model = small_options(name_of(config.model))
    return config


def write_model(config: Any, folder: Path) -> nn.Module:
    """Write a model with random weights that tell inputs apart; return its network in eval mode."""
    torch.manual_seed(0)
    model: nn.Module = config.model.build()
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():  # of branches that training begins without
            nn.init.normal_(parameter, std=0.1)
    folder.mkdir(parents=True)
    classes = CLASSES if any(field.name == "num_classes" for field in fields(config.model)) else ()
    save_model(folder, model.state_dict(), config.describe(classes))
    return model.eval()
